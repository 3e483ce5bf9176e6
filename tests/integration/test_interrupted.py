"""A process that is killed in the middle of an extraction loses what it had in hand, and nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lit_knn.store import Store

from ..conftest import contents, run
from ..data.conftest import samples, write_tar

LENGTHS = (11, 7, 12, 9)

NETWORK = """
import os, signal
from lit_knn.backbones.digits import digits_resnet

def network():
    net = digits_resnet()
    def count(module, inputs, output):
        network.batches += 1
        if network.batches == int(os.environ.get("DIE_IN_BATCH", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
    net.conv1.register_forward_hook(count)
    return net
network.batches = 0
"""


@pytest.fixture
def config(config, tmp_path):
    for shard, length in enumerate(LENGTHS):
        write_tar(tmp_path / f"part-{shard}.tar", samples(sum(LENGTHS[:shard]), length, height=8, width=8))
    (tmp_path / "mortal.py").write_text(NETWORK)
    urls = {"urls": str(tmp_path / "part-*.tar")}
    config["data"] |= {"database": {"class_path": "TarShards", "init_args": urls}, "batch_size": 5}
    config["model"]["classifier"] = {**config["model"]["classifier"], "network": f"{tmp_path / 'mortal.py'}:network"}
    return config


def die(config, batch):
    """Run `extract` in a process that the network kills in the given batch."""
    path = Path(config["trainer"]["default_root_dir"]) / "given.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-m", "lit_knn", "extract", "--config", path],
        env={**os.environ, "DIE_IN_BATCH": str(batch)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_nothing_is_lost_and_nothing_is_written_twice(config, tmp_path):
    batches = 1 + sum(-(-length // 5) for length in LENGTHS)  # calibration and fit
    second_of_shard_2 = batches + 3 + 2 + 2
    die(config, second_of_shard_2)
    database = Path(config["model"]["database"]["path"])
    sealed = {path: path.stat() for path in database.rglob("*.h5") if not path.name.startswith(".")}
    assert {path.name for path in sealed} == {"shard-000000.h5", "shard-000001.h5", "early.h5", "late.h5"}
    assert list((database / "store").glob(".shard-000002*.tmp"))  # it was in the middle of this one
    assert not (database / "store" / "manifest.json").exists()

    run("extract", config)
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sealed} == {
        path: (stat.st_ino, stat.st_mtime_ns) for path, stat in sealed.items()
    }
    keys = Store(database / "store").keys(range(sum(LENGTHS)))
    assert keys == [f"s{number:03d}" for number in range(sum(LENGTHS))]

    config["model"]["database"]["path"] = str(tmp_path / "uninterrupted")
    run("extract", config)
    expected = contents(tmp_path / "uninterrupted")
    assert {name: data for name, data in contents(database).items() if not name.endswith(".tmp")} == expected


def test_an_extraction_that_dies_before_the_projections_are_fitted_starts_again(config, tmp_path, monkeypatch):
    """Here the interruption is an exception: Ctrl-C, or a scheduler's SIGTERM."""

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lit_knn.fitting.MomentFiles.seal", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run("extract", config)
    assert not contents(tmp_path / "database")
    run("extract", config)
    assert len(Store(tmp_path / "database" / "store")) == sum(LENGTHS)


def test_an_exception_in_the_middle_of_a_shard_leaves_no_half_of_it(config, tmp_path, monkeypatch):
    from lit_knn.store import ShardWriter

    append, calls = ShardWriter.append, []

    def interrupt(self, **columns):
        calls.append(1)
        if len(calls) == 5:  # the second batch of the second shard
            raise KeyboardInterrupt
        append(self, **columns)

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "append", interrupt)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run("extract", config)
    assert [path.name for path in (tmp_path / "database" / "store").iterdir()] == ["shard-000000.h5"]
    run("extract", config)
    assert len(Store(tmp_path / "database" / "store")) == sum(LENGTHS)
