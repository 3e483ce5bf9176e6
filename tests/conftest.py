"""The whole pipeline on handwritten digits, small enough for a test."""

import os

# Before PyTorch counts them: pytest runs in two processes, and more threads than cores only wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
import yaml

from lit_knn.backbones import Classifier, Tap
from lit_knn.cli.main import main
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database, StoredGallery
from lit_knn.database.index import Faiss

NETWORK = {"network": "lit_knn.backbones.digits.digits_resnet", "mean": [0.5] * 3, "std": [0.5] * 3}
SURROGATE = NETWORK | {"network": "lit_knn.backbones.digits.digits_surrogate"}
TAPS = [
    {"layer": "layer1.0.add", "pool": 2, "dimension": 24, "name": "early"},
    {"layer": "layer3.1.add", "pool": 1, "dimension": 24, "name": "late"},
]


def tiny(database: Path, runs: Path) -> dict[str, Any]:
    """Return a configuration for all three commands."""
    return {
        "seed_everything": 0,
        "trainer": {"accelerator": "cpu", "devices": 1, "default_root_dir": str(runs), "enable_progress_bar": False},
        "data": {
            "queries": {"class_path": "Digits", "init_args": {"split": "test"}},
            "database": {"class_path": "Digits", "init_args": {"split": "train"}},
            "batch_size": 50,
            "num_queries": 130,
        },
        "model": {
            "classifier": dict(NETWORK),
            "attacks": [{"class_path": "PGD", "init_args": {"steps": 2, "step": "l2"}}],
            "deltas": [0.05, 0.1],
            "database": {"path": str(database), "taps": [dict(tap) for tap in TAPS], "index": {"class_path": "Faiss"}},
            "defenses": [
                {"class_path": "NoDefense"},
                {"class_path": "KNN", "init_args": {"taps": ["early", "late"], "k": [1, 5]}},
            ],
        },
    }


@contextmanager
def restored() -> Iterator[None]:
    """Give back what a command changes in its process: the environment, the random state, determinism."""
    environment, random = dict(os.environ), torch.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    arguments = sys.argv
    sys.argv = ["lit-knn"]  # Lightning warns where a script with arguments of its own runs a command
    try:
        yield
    finally:
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(environment)
        torch.set_rng_state(random)
        torch.use_deterministic_algorithms(deterministic)


def run(command: str, config: dict[str, Any], *options: str) -> Path:
    """Run a command in this process and return the newest run folder."""
    runs = Path(config["trainer"]["default_root_dir"])
    runs.mkdir(parents=True, exist_ok=True)
    path = runs / "given.yaml"
    path.write_text(yaml.safe_dump(config))
    with restored():
        main([command, "--config", str(path), *options])
    return max(runs.glob("run-*"), default=runs)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but the indexes: {path: bytes}."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "index" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Give a file system of its own, where this process may mount one; ``size`` is in mount's words, such as 64k."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def in_processes(function: Callable[..., None], *args: Any, count: int) -> None:
    """Call ``function(number, *args)`` in so many processes, forked from one that has imported all they need."""
    multiprocessing.set_forkserver_preload([function.__module__])
    torch.multiprocessing.start_processes(function, args, count, start_method="forkserver")


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A configuration that writes below `tmp_path` only."""
    return tiny(tmp_path / "database", tmp_path / "runs")


@pytest.fixture(scope="session")
def database_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of that configuration, extracted and indexed once; read-only."""
    folder = tmp_path_factory.mktemp("built")
    config = tiny(folder / "database", folder / "runs")
    run("extract", config)
    run("index", config)
    return folder / "database"


@pytest.fixture(scope="session")
def reference(database_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a test of that configuration; read-only."""
    return run("test", tiny(database_path, tmp_path_factory.mktemp("reference")))


@pytest.fixture
def built(database_path: Path, tmp_path: Path) -> dict[str, Any]:
    """A configuration whose database is there already; runs go below `tmp_path`."""
    return tiny(database_path, tmp_path / "runs")


@pytest.fixture
def mistake(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to stop with code 2 and one sentence, and return the sentence."""

    def call(command: str, config: dict[str, Any], *options: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            run(command, config, *options)
        assert stop.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        (sentence,) = (line for line in lines if line.startswith("lit-knn: "))
        assert sentence == lines[-1]
        assert not any("Traceback" in line for line in lines)
        return sentence

    return call


@pytest.fixture
def classifier() -> Classifier:
    """The quickstart's network."""
    return Classifier(**NETWORK)


@pytest.fixture
def data() -> ImageData:
    """130 digits as queries, 1,297 as database."""
    return ImageData(queries=Digits(split="test"), database=Digits(split="train"), batch_size=50, num_queries=130)


@pytest.fixture
def database(database_path: Path) -> Database:
    """The database of `database_path`, not opened yet."""
    return Database(path=database_path, taps=[Tap(**tap) for tap in TAPS], index=Faiss())


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU hold in a loop all that a GPU holds."""
    monkeypatch.setattr("lit_knn.database.index.resident.HELD_FROM", 1)
    for module in ("index.coded_rows", "store.held_columns"):
        monkeypatch.setattr(f"lit_knn.database.{module}.HOLDING", ("cpu",))
    monkeypatch.setattr("lit_knn.database.store.held_columns.room", lambda device: 1 << 30)


@pytest.fixture
def gallery(database: Database, classifier: Classifier, data: ImageData) -> StoredGallery:
    """The same, opened."""
    return database.open(classifier, data)[-1]
