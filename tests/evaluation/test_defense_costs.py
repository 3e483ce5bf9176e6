import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.backbones import Classifier
from lit_knn.defenses import KNN, UW, BitDepth, FusedKNN, NoDefense, OtherClassifier, TransformedClassifier
from lit_knn.evaluation import defense_costs as module
from lit_knn.evaluation.defense_costs import defense_costs
from tests.conftest import SURROGATE
from tests.defenses.transformations.conftest import Noisy
from tests.evaluation.test_module import build, test


@pytest.fixture
def tested(classifier, data, database):
    defenses = [
        KNN(taps=["early", "late"], k=[1, 5]),
        KNN(taps=["late"], k=[3]),
        TransformedClassifier(transformation=Noisy(), draws=7),
        TransformedClassifier(transformation=BitDepth()),
        OtherClassifier(classifier=Classifier(**SURROGATE)),
    ]
    evaluation = build(classifier, database, defenses=defenses, attacks=[PGD(steps=1)])
    test(evaluation, data, limit_test_batches=1)
    evaluation.trainer.datamodule = data
    return evaluation


def test_each_defense_says_what_it_is_and_how_often_it_asks_a_network(tested):
    before = torch.get_rng_state()
    costs = defense_costs(tested)
    assert torch.equal(torch.get_rng_state(), before)
    told = [(cost["defense"], cost["random"], cost["gradient"], cost["passes"]) for cost in costs]
    assert told == [
        ("none", False, "own", 1),
        ("kNN soft", False, "none", 1),
        ("kNN late K=3 soft", False, "none", 1),
        ("noisy ×7", True, "own", 7),
        ("3-bit", False, "lent", 1),
        ("digits_surrogate", False, "own", 1),
    ]
    assert all(cost["images"] == 50 for cost in costs)
    assert all(cost["seconds"] > 0 <= cost["cpu_seconds"] for cost in costs)


def test_the_first_pass_is_not_what_others_are_told_beside(tested, monkeypatch):
    """By a clock that the network moves on: by 9 s at first, by 1 s later."""
    now, passes = [0.0], iter([9.0])
    tested.classifier.register_forward_hook(lambda *_: now.append(now[-1] + next(passes, 1.0)))
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[-1])
    monkeypatch.setattr(module.time, "process_time", lambda: now[-1])
    tested.defenses = [NoDefense()]
    (none,) = defense_costs(tested)
    assert none["seconds"] == none["cpu_seconds"] == pytest.approx(1 / 50)


def test_no_defense_is_measured_where_the_run_is_without_it_and_once_where_it_is_not(tested):
    tested.defenses = [NoDefense()]
    assert [cost["defense"] for cost in defense_costs(tested)] == ["none"]


def test_fusions_are_told_from_a_knn():
    assert module._called(FusedKNN(taps=["early", "late"], k=[5], weightings=[UW()])) == "fused early+late K=5 UW soft"


def test_a_large_store_is_not_read_for_it(tested, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 1000)
    assert len(defense_costs(tested)) == 6  # an index answers
    for index in tested.gallery.indexes.values():
        monkeypatch.setattr(type(index), "exhaustive", True)
    assert "kNN soft" not in [cost["defense"] for cost in defense_costs(tested)]
