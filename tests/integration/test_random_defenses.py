"""A defense that draws, and attackers who know it, through the command line: the same bytes however it is run."""

import csv
from pathlib import Path

import pytest
import torch
import yaml

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import EOT, DefenseMargin
from lit_knn.defenses import Query, TransformedClassifier
from lit_knn.defenses.transformations import RandomCrop
from lit_knn.randomness import Randomness
from lit_knn.threat_models import WhiteBox
from tests.conftest import run
from tests.defenses.transformations.conftest import Noisy
from tests.integration.test_processes import ROOT, run_test_in_two

NOISY = {"class_path": "tests.defenses.transformations.conftest.Noisy"}
DEFENSE = {"class_path": "TransformedClassifier", "init_args": {"transformation": NOISY, "draws": 2}}
LINES = ("mean", "worst", "majority")
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
        "evaluations": 3,
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


@pytest.mark.slow
def test_neither_batches_nor_an_interruption_nor_other_sizes_matter(config, results):
    whole = results("whole", 14)
    assert results("five", 5) == results("one", 1) == whole
    defended = [row for row in whole if row["defense"] == "noisy ×2" and row["topk"] == "1"]
    assert {row["evaluations"] for row in whole} == {"", "3"}
    accuracies = {(row["attack"], row["delta"], row["protocol"]): float(row["accuracy"]) for row in defended}
    assert accuracies["PGD-EOT-defense", "0.2", "mean"] < accuracies["PGD", "0.0", "mean"]
    for attack, delta, _ in accuracies:
        worst, mean, majority = (accuracies[attack, delta, name] for name in ("worst", "mean", "majority"))
        assert worst <= min(mean, majority)

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


def test_more_evaluations_are_another_run_of_images_that_are_kept(config, results, mistake, tmp_path, monkeypatch):
    config["model"]["cache"] = {"path": str(tmp_path / "cache"), "images": True}
    three = results("three", 14)
    assert "evaluations is 3 where 5 is expected" in mistake(
        "test", config, "--trainer.run", "three", "--model.evaluations", "5"
    )
    monkeypatch.setattr("lit_knn.attacks.base.Attack.attempts", None)  # nothing is attacked again
    five = results("five", 14, "--model.evaluations", "5")
    names = ("threat", "attack", "delta", "protocol", "topk", "delta_mean")
    assert [[row[name] for name in names] for row in five] == [[row[name] for name in names] for row in three]
    assert {row["evaluations"] for row in five} == {"", "5"}


def test_a_cascade_has_the_worst_case_of_each_protocol(config, results):
    whole = [row for row in results("whole", 14) if row["attack"] == "worst case" and row["topk"] == "1"]
    config["model"]["cascade"] = True
    told = ("delta", "defense", "protocol", "correct", "n", "accuracy", "low", "high")
    found = results("cascade", 5)
    assert [[row[name] for name in told] for row in found] == [[row[name] for name in told] for row in whole]


def test_broken_by_names_what_breaks_any_half_and_all_of_the_evaluations(config, results):
    rows = [row for row in results("three", 14) if row["attack"] == "worst case" and row["topk"] == "1"]
    kept = {(row["delta"], row["protocol"]): int(row["correct"]) for row in rows if row["protocol"]}
    with (Path(config["trainer"]["default_root_dir"]) / "three" / "broken_by.csv").open() as file:
        cells = list(csv.DictReader(file))
    for delta in ("0.1", "0.2"):
        here = [row for row in cells if row["delta"] == delta]
        mean, worst, majority = ([row[f"noisy ×2 {line}-of-3"] for row in here] for line in LINES)
        assert worst.count("") == kept[delta, "worst"]
        assert majority.count("") == kept[delta, "majority"]
        assert kept[delta, "mean"] >= mean.count("")  # each of which is right at least once
        for all_of_them, half, one in zip(mean, majority, worst, strict=True):
            assert (all_of_them != "") <= (half != "") <= (one != "")


class Rounded(Noisy):
    """Noise of a fifth of the range, and 8 levels: nothing of it has a gradient but what `copies` lends."""

    name, differentiable = "noisy and rounded", False

    def __call__(self, image, randomness):
        return ((image + 0.2 * randomness.normal(image)) * 7).round() / 7


@pytest.mark.slow
@pytest.mark.parametrize("transformation", [Noisy(), Rounded(), RandomCrop(size=0.75)], ids=lambda part: part.name)
def test_the_suite_breaks_what_is_random_where_it_breaks_the_network(transformation, classifier, data):
    """PGD as adaptive.yaml has it, on the copy that a defense brings; judged by the defender's own draws."""
    suite = yaml.safe_load((ROOT / "configs" / "attack" / "adaptive.yaml").read_text())["model"]["attacks+"]
    (settings,) = (part["init_args"] for part in suite if "EOT" in str(part) and part["class_path"] == "PGD")
    assert settings == {"steps": 50, "objective": {"class_path": "EOT", "init_args": {"objective": "DefenseMargin"}}}
    defense = TransformedClassifier(transformation=transformation)
    (threat,) = WhiteBox().against([defense])
    batch = data.on_after_batch_transfer(data.first_queries())
    image, label, ids = (batch[name][:20] for name in ("image", "label", "id"))

    def right(version):
        own = [Randomness(0, ids).of("evaluation", number) for number in range(10)]
        answers = [defense(Query(version, classifier, randomness=numbers))[0].argmax(1) for numbers in own]
        return float((torch.stack(answers) == label).float().mean())

    (undefended,) = PGD(steps=50)(classifier, image, label, ids, [0.2])
    assert not (classifier(undefended).argmax(1) == label).any()
    attack = PGD(steps=50, objective=EOT(objective=DefenseMargin()))
    (broken,) = attack(classifier, image, label, ids, [0.2], threat.surrogate_defense(classifier, None))
    assert right(image) > 0.6
    assert right(broken) <= min(0.06, right(undefended))


@pytest.mark.ddp
@pytest.mark.slow
def test_two_processes_answer_as_one(config, results, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config["data"]["batch_size"] = 3
    expected = run("test", config)
    found = run_test_in_two(config, tmp_path / "two")
    assert (found / "results.csv").read_bytes() == (expected / "results.csv").read_bytes()
