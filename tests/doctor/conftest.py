"""A database of four shards, and what the doctor says of it."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest

from lit_knn.data import Digits, tensors
from tests.conftest import run, tiny


@pytest.fixture(scope="session")
def sharded(tmp_path_factory):
    """The configuration of a built database of 1,297 rows in four shards; read-only."""
    folder = tmp_path_factory.mktemp("sharded")
    images, labels = tensors(Digits(split="train"))
    np.savez(folder / "rows.npz", images=images.numpy(), labels=labels.numpy())
    config = tiny(folder / "database", folder / "runs")
    arguments = {"images": str(folder / "rows.npz"), "images_key": "images", "labels_key": "labels", "shard_size": 400}
    config["data"]["database"] = {"class_path": "Arrays", "init_args": arguments}
    run("extract", config)
    run("index", config)
    return config


@pytest.fixture
def copied(sharded, tmp_path):
    """The same, in a folder that a test may change."""
    config = copy.deepcopy(sharded)
    shutil.copytree(config["model"]["database"]["path"], tmp_path / "database")
    config["model"]["database"]["path"] = str(tmp_path / "database")
    config["trainer"]["default_root_dir"] = str(tmp_path / "runs")
    return config


@pytest.fixture
def ask(capsys, monkeypatch):
    """Run the doctor, and return its exit code and what it says, a space between any two words."""
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setattr("lit_knn.doctor.rates.SECONDS", 0.01)  # no test looks at how exact a rate is

    def call(config, *options):
        capsys.readouterr()
        code = 0
        try:
            run("doctor", config, *options)
        except SystemExit as stopped:
            code = stopped.code
        return code, " ".join(capsys.readouterr().out.split())

    return call


def store(config):
    return Path(config["model"]["database"]["path"]) / "store"
