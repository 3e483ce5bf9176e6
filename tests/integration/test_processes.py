"""Real runs of two processes: the same bytes as one."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lit_knn.data import Digits
from tests.conftest import NETWORK, contents, run, tiny

pytestmark = [pytest.mark.ddp, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


def start(command, config, *options, **environment):
    """Start a command that thinks it is to use two processes."""
    runs = Path(config["trainer"]["default_root_dir"])
    runs.mkdir(parents=True, exist_ok=True)
    path = runs / "given.yaml"
    path.write_text(yaml.safe_dump(config))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PL_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "lit_knn", command, "--config", path, *TWO, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=runs,
        env={**clean, **environment},
    )


def finish(process):
    """Return what it printed; a hang is a failure, and leaves nothing running."""
    try:
        return process.communicate(timeout=120)
    finally:
        process.kill()


def run_two(command, config, *options):
    """Let a launcher start both processes at once, as torchrun would; return exit codes and what they said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
    processes = [start(command, config, *options, LOCAL_RANK=rank, **place) for rank in "01"]
    said = [finish(process)[1] for process in processes]
    return [process.returncode for process in processes], said


def run_test_in_two(config, folder):
    """Run a test in two processes, below a folder of its own, and return the run's."""
    config["trainer"]["default_root_dir"] = str(folder)
    process = start("test", config)
    _, said = finish(process)
    assert process.returncode == 0, said
    (found,) = folder.glob("run-*")
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """120 digits as PNG files, 12 of each class."""
    root = tmp_path_factory.mktemp("digits")
    shard = Digits(split="train").open_shard(0)
    count = dict.fromkeys(range(10), 0)
    for row in range(len(shard)):
        sample = shard.read(row)
        if count[sample.label] < 12:
            count[sample.label] += 1
            (root / str(sample.label)).mkdir(exist_ok=True)
            Image.fromarray(np.asarray(sample.image)).save(root / str(sample.label) / f"{row:04d}.png")
    return root


def configuration(folder, tmp_path, name):
    config = tiny(tmp_path / name, tmp_path / f"runs-{name}")
    config["data"]["database"] = {"class_path": "ImageFolder", "init_args": {"root": str(folder), "shard_size": 50}}
    config["data"]["batch_size"] = 20  # 3 + 3 + 1 batches of the database, 7 of the queries: odd
    return config


def test_two_processes_give_the_same_bytes_as_one(folder, tmp_path):
    """Of projections, store and results: one process runs three commands, two run `test` and build the database."""
    one = configuration(folder, tmp_path, "one")
    run("extract", one)
    run("index", one)
    expected = run("test", one)

    two = configuration(folder, tmp_path, "two")
    two["model"]["database"]["build_missing"] = True
    process = start("test", two)  # and it starts the second one
    printed, said = finish(process)
    assert process.returncode == 0, said
    (found,) = Path(two["trainer"]["default_root_dir"]).glob("run-*")

    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert {f"store/shard-00000{shard}.h5" for shard in range(3)} < set(contents(tmp_path / "two"))
    assert (found / "results.csv").read_bytes() == (expected / "results.csv").read_bytes()
    assert {path.name for path in found.iterdir()} == {path.name for path in expected.iterdir()}
    assert printed.count("Top-1 accuracy") == 1  # printed by one of them
    built = [path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one" / "index").rglob("*.*")]
    assert all((tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes() for name in built)


@pytest.mark.parametrize("cascade", [False, True])
def test_every_attack_gives_the_same_bytes_in_two_processes(cascade, built, tmp_path):
    """The adaptive suite, with fewer steps, under all threats."""
    suite = yaml.safe_load((ROOT / "configs" / "attack" / "adaptive.yaml").read_text())["model"]
    attacks = [{"class_path": part} if isinstance(part, str) else part for part in suite["attacks+"]]
    fewer = {"steps": 2, "queries": 8, "binary_search_steps": 2}
    for part in attacks:
        settings = part.get("init_args", {})
        settings |= {name: fewer[name] for name in settings.keys() & fewer.keys()}
    surrogate = {**NETWORK, "network": "lit_knn.backbones.digits.digits_surrogate"}
    threats = ["GrayBox", {"class_path": "BlackBox", "init_args": {"surrogates": [surrogate]}}, *suite["threats+"]]
    built["model"] |= {
        "attacks": [*built["model"]["attacks"], *attacks],
        "threats": threats,
        "deltas": [0.1],
        "cascade": cascade,
    }
    expected = run("test", built)
    found = run_test_in_two(built, tmp_path / "two")
    for name in ["broken_by.csv"] if cascade else ["results.csv", "broken_by.csv"]:  # batches of others round otherwise
        assert (found / name).read_bytes() == (expected / name).read_bytes()


SHARDED = {"class_path": "Sharded", "init_args": {"index": "Faiss", "parts": 3}}


@pytest.mark.parametrize("index", [None, SHARDED], ids=["scan", "sharded"])
def test_the_store_and_parts_of_an_index_are_searched_by_two_processes_as_by_one(
    index, config, database_path, tmp_path
):
    """Queries wait for one pass over the store; or ask each other, white-box attackers in every step."""
    shutil.copytree(database_path, Path(config["model"]["database"]["path"]))
    config["model"]["database"]["index"] = index
    config["model"] |= {
        "attacks": [
            *config["model"]["attacks"],
            {"class_path": "PGD", "init_args": {"objective": "SoftKNN", "steps": 2}},
        ],
        "threats": ["GrayBox", {"class_path": "WhiteBox", "init_args": {"rows": 900}}],
        "deltas": [0.1],
    }
    run("index", config)
    expected = run("test", config)
    found = run_test_in_two(config, tmp_path / "two")
    assert (found / "results.csv").read_bytes() == (expected / "results.csv").read_bytes()
    assert {path.name for path in found.iterdir()} == {path.name for path in expected.iterdir()}


def test_fewer_shards_than_processes(config, database_path):
    """The digits are one shard."""
    codes, said = run_two("extract", config)
    assert codes == [0, 0], said
    assert contents(Path(config["model"]["database"]["path"])) == contents(database_path)


def refusal(codes, said):
    """Return the sentence that each of the processes stopped with."""
    assert codes == [2, 2], said
    (sentence,) = {text.splitlines()[-1] for text in said}
    assert sentence.startswith("lit-knn: ")
    assert not any("Traceback" in text for text in said)
    return sentence


def test_fewer_batches_of_queries_than_processes(built):
    assert "2 processes" in refusal(*run_two("test", built, "--data.batch_size", "130"))
    assert not list(Path(built["trainer"]["default_root_dir"]).glob("run-*/results.csv"))
