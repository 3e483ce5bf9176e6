"""Quilting through the command line: patches drawn, sealed and opened, and the same answers however it is run."""

import csv
import shutil
from pathlib import Path

import pytest

from tests.conftest import run
from tests.integration.test_processes import ROOT, run_test_in_two


def quilting(**patches):
    settings = {"count": 3000, "size": 3, "per_image": 3} | patches
    transformation = {"class_path": "Quilting", "init_args": {"k": 4, "overlap": 1, "patches": settings}}
    return {"class_path": "TransformedClassifier", "init_args": {"transformation": transformation}}


@pytest.fixture
def config(config, database_path):
    """A database without patches, and an attacker who knows how they are used."""
    shutil.copytree(database_path, config["model"]["database"]["path"])
    mean = {"class_path": "EOT", "init_args": {"objective": "DefenseMargin", "draws": 2}}
    config["model"] |= {
        "defenses": ["NoDefense", quilting()],
        "threats": ["GrayBox", "WhiteBox"],
        "attacks": [
            {"class_path": "PGD", "init_args": {"steps": 2}},
            {"class_path": "PGD", "init_args": {"steps": 2, "objective": mean}},
        ],
        "deltas": [0.2],
    }
    config["data"]["num_queries"] = 14
    return config


@pytest.fixture
def exact(config, tmp_path):
    """The same in float64, as batches round otherwise, with a database of its own."""
    config["trainer"]["precision"] = "64-true"
    config["model"]["database"] |= {"path": str(tmp_path / "exact"), "build_missing": True}
    return config


@pytest.fixture
def place(config):
    return Path(config["model"]["database"]["path"]) / "resources" / "patches"


def results(config, name, batch_size):
    config["data"]["batch_size"] = batch_size
    run("test", config, "--trainer.run", name)
    with (Path(config["trainer"]["default_root_dir"]) / name / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_index_builds_patches_and_test_wants_them(config, place, mistake):
    assert mistake("test", config).endswith(f"resource patches in {place} is missing; run `lit-knn index` again")
    run("index", config)
    sealed = {path.name: path.read_bytes() for path in place.iterdir()}
    run("index", config)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == sealed
    config["model"]["defenses"][1] = quilting(seed=1)
    assert "is of another origin: resource.1.seed is 0 where 1 is expected" in mistake("test", config)
    run("index", config)
    assert (place / "patches.npy").read_bytes() != sealed["patches.npy"]


@pytest.mark.slow
def test_neither_batches_nor_an_interruption_matter(exact):
    whole = results(exact, "whole", 14)
    assert results(exact, "five", 5) == whole
    five = Path(exact["trainer"]["default_root_dir"]) / "five"
    for path in [*sorted(five.rglob("delta-0.2/*.h5"))[::2], *five.glob("sample_results/*.npz")]:
        path.unlink()
    assert results(exact, "five", 5) == whole
    defended = {(row["threat"], row["attack"]) for row in whole if row["defense"] == "quilting"}
    assert {("gray_box", "PGD"), ("white_box quilting", "PGD-EOT-defense")} <= defended


@pytest.mark.parametrize(
    ("patches", "sentence"),
    [
        ({"size": 9}, "image of 8×8 pixels has 0: lower count, per_image or size of the patches"),
        ({"count": 100_000}, "image of 8×8 pixels has 36: lower count, per_image or size of the patches"),
        ({"index": "IVF4000,Flat"}, "index 'IVF4000,Flat' cannot be trained on 3,000 patches"),
        ({"count": 3}, "Quilting has k: 4; 1 to the 3 patches are accepted"),
    ],
)
def test_what_cannot_be_built_is_told(patches, sentence, config, place, mistake):
    config["model"]["defenses"][1] = quilting(**patches)
    assert sentence in mistake("index", config)
    assert not place.exists()


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_answer_as_one(exact, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    exact["data"]["batch_size"] = 3
    expected = run("test", exact)
    found = run_test_in_two(exact, tmp_path / "two")
    assert (found / "results.csv").read_bytes() == (expected / "results.csv").read_bytes()
