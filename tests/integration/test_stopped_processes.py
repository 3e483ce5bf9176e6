"""Real runs of two processes that one of them, or a signal, stops: both end, with the same sentence and code."""

import signal
from pathlib import Path

import pytest

from tests.conftest import contents, run, tiny
from tests.data.conftest import samples, write_tar, write_tars
from tests.integration.test_interrupted import CALIBRATION, EXAMINATION, NETWORK
from tests.integration.test_processes import finish, refusal, run_two, start

pytestmark = [pytest.mark.ddp, pytest.mark.slow]
LENGTHS = (11, 7, 12, 9)


@pytest.fixture
def config(tmp_path):
    """Four tar shards: the first and the third are read by rank 0."""
    write_tars(tmp_path, *LENGTHS, height=8, width=8)
    (tmp_path / "mortal.py").write_text(NETWORK)
    config = tiny(tmp_path / "two", tmp_path / "runs")
    config["model"]["classifier"] |= {"network": f"{tmp_path / 'mortal.py'}:network"}
    urls = {"urls": str(tmp_path / "part-*.tar")}
    config["data"] |= {"database": {"class_path": "TarShards", "init_args": urls}, "batch_size": 5}
    return config


def atomic_write(config):
    return sorted(path.name for path in Path(config["model"]["database"]["path"]).glob("store/*.h5"))


def test_an_image_that_one_process_cannot_read_stops_both_with_one_sentence(config, tmp_path):
    members = samples(LENGTHS[0], LENGTHS[1], height=8, width=8)
    write_tar(tmp_path / "part-1.tar", members | {"s011.png": b"no image"})  # in the fourth batch: of rank 1 alone
    assert "s011 of shard part-1" in refusal(*run_two("extract", config))


def test_a_signal_to_the_first_process_stops_both(config, tmp_path):
    """Without Slurm the first process has started the second, and passes the signal on."""
    in_shard_0 = CALIBRATION + 5 + EXAMINATION + 2  # which the first process finishes, but does not begin shard 2
    process = start("extract", config, IN_BATCH=str(in_shard_0), SIGNAL=str(int(signal.SIGTERM)))
    _, said = finish(process)
    assert process.returncode == 75, said
    assert said.count("stopped by SIGTERM with nothing lost") == 1
    assert "Traceback" not in said
    assert "shard-000000.h5" in atomic_write(config)
    assert "shard-000002.h5" not in atomic_write(config)
    run("extract", config)
    config["model"]["database"]["path"] = str(tmp_path / "one")
    run("extract", config)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.fixture
def sharded(built, tmp_path):
    """A test that two processes can only do together: each batch asks an index of which each has half."""
    (tmp_path / "mortal.py").write_text(NETWORK)
    built["model"]["classifier"] |= {"network": f"{tmp_path / 'mortal.py'}:network"}
    built["model"]["database"] |= {"path": str(tmp_path / "own"), "build_missing": True}
    built["model"]["database"]["index"] = {"class_path": "Sharded", "init_args": {"index": "Scan", "parts": 2}}
    built["data"]["batch_size"] = 13
    return built


def test_one_process_is_killed_and_the_other_says_which(sharded):
    """The second, which the first one has started: after half of the database, in a batch of the test."""
    process = start("test", sharded, IN_BATCH="75", SIGNAL=str(int(signal.SIGKILL)), OF_RANK="1")
    _, said = finish(process)
    assert process.returncode == 1, said
    (sentence,) = (line for line in said.splitlines() if line.startswith("lit-knn: "))
    assert sentence.startswith("lit-knn: process 2 of 2 (")
    assert "was killed by SIGKILL" in sentence
    assert "Traceback" not in said


def test_ctrl_c_stops_both_with_one_line(sharded, tmp_path):
    """A terminal sends the signal to both; here to the first, while the second one works."""
    process = start("test", sharded, "--trainer.run=mine", IN_BATCH="75", SIGNAL=str(int(signal.SIGINT)), OF_RANK="0")
    _, said = finish(process)
    assert process.returncode == 130, said
    said = [line for line in said.splitlines() if line.startswith("lit-knn: ")]
    assert said == ["lit-knn: stopped by Ctrl-C with nothing lost; the same command goes on"]
