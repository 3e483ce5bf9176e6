"""A defense that draws, and attackers who know it, through the command line: the same bytes however it is run."""

import csv
from pathlib import Path

import pytest

from tests.conftest import run
from tests.integration.test_processes import ROOT, run_test_in_two

NOISY = {"class_path": "tests.defenses.transformations.conftest.Noisy"}
DEFENSE = {"class_path": "TransformedClassifier", "init_args": {"transformation": NOISY, "draws": 2}}
MEAN = {"class_path": "EOT", "init_args": {"objective": "DefenseMargin", "draws": 2}}


@pytest.fixture
def config(config):
    """Noise, attacked by one who knows them and one who does not, in float64: batches do not differ in rounding."""
    config["model"] |= {
        "attacks": [
            {"class_path": "PGD", "init_args": {"steps": 2, "restarts": 2}},
            {"class_path": "PGD", "init_args": {"steps": 2, "restarts": 2, "objective": MEAN}},
        ],
        "threats": ["GrayBox", {"class_path": "WhiteBox", "init_args": {"defense": DEFENSE}}],
        "defenses": ["NoDefense", DEFENSE],
        "deltas": [0.1, 0.2],
        "database": None,
    }
    config["data"] |= {"num_queries": 14}
    config["trainer"]["precision"] = "64-true"
    return config


@pytest.fixture
def results(config):
    """Return what a run of some name has counted, and realized Δ."""

    def call(name, batch_size, *options):
        config["data"]["batch_size"] = batch_size
        run("test", config, "--trainer.run", name, *options)
        with (Path(config["trainer"]["default_root_dir"]) / name / "results.csv").open() as file:
            return list(csv.DictReader(file))

    return call


def test_neither_batches_nor_an_interruption_nor_other_sizes_matter(config, results):
    whole = results("whole", 14)
    assert results("five", 5) == results("one", 1) == whole
    defended = [row for row in whole if row["defense"] == "noisy mean of 2" and row["topk"] == "1"]
    accuracies = {(row["attack"], row["delta"]): float(row["accuracy"]) for row in defended}
    assert accuracies["PGD-EOT-defense", "0.2"] < accuracies["PGD", "0.0"]

    five = Path(config["trainer"]["default_root_dir"]) / "five"
    for path in [*sorted(five.rglob("delta-0.2/*.h5"))[::2], *five.glob("sample_results/*.npz")]:
        path.unlink()
    assert results("five", 5) == whole

    config["model"]["deltas"] = [0.2]
    assert results("less", 14) == [row for row in whole if row["delta"] != "0.1"]


def test_the_seed_of_the_run_is_that_of_the_noise(config, results, mistake):
    whole, other = results("mine", 14), ("--seed_everything", "1")
    assert results("other", 14, *other) != whole
    assert "seed is 0 where 1 is expected" in mistake("test", config, "--trainer.run", "mine", *other)


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_answer_as_one(config, results, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config["data"]["batch_size"] = 3
    expected = run("test", config)
    found = run_test_in_two(config, tmp_path / "two")
    assert (found / "results.csv").read_bytes() == (expected / "results.csv").read_bytes()
