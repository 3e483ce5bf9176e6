import copy
import logging
import shutil

import pytest

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import CrossEntropy
from lit_knn.defenses import CBWE, UW, NoDefense
from lit_knn.threat_models import GrayBox
from tests.conftest import TAPS
from tests.evaluation.cache.conftest import BATCHES, Bright, Recording
from tests.evaluation.mortal import KilledError, Mortal

# ---------------------------------------------------------------- what costs no attack


def test_a_first_run_gives_what_it_gives_without_a_cache(evaluate, gradients):
    expected = evaluate(cache=False)
    attacked = len(gradients)
    assert evaluate() == expected
    assert len(gradients) == 2 * attacked == 2 * (2 * 2 * 2 * BATCHES)  # cases, Δ, steps


def test_a_second_run_attacks_nothing_and_gives_the_same_to_the_bit(evaluate, gradients):
    evaluate()
    for changes in (
        {},
        {"defenses": [Recording(taps=["late"], k=[3, 7], weightings=[UW(), CBWE()], combinations=["soft", "hard"])]},
        {"defenses": [NoDefense()], "database": None},
        {"rows": 300},
        {"rows": 300, "seed": 3},
        {"deltas": [0.1]},
        {"threats": [GrayBox()], "attacks": [PGD(steps=2, name="an old acquaintance")]},
    ):
        fresh = copy.deepcopy(changes)
        gradients.clear()
        found = evaluate(**changes)
        assert not gradients, changes
        assert found == evaluate(cache=False, **fresh), changes
        assert gradients


def test_another_projection_attacks_nothing(evaluate, gradients, other_projection):
    first = evaluate()
    gradients.clear()
    found = evaluate(database=copy.deepcopy(other_projection))
    assert not gradients
    assert found == evaluate(cache=False, database=other_projection)
    assert found[1] != first[1]


def test_a_new_delta_costs_only_itself(evaluate, gradients):
    evaluate(threats=[GrayBox()])
    gradients.clear()
    found = evaluate(threats=[GrayBox()], deltas=[0.05, 0.07, 0.1])
    assert len(gradients) == 2 * BATCHES
    assert found == evaluate(cache=False, threats=[GrayBox()], deltas=[0.05, 0.07, 0.1])


def test_an_interrupted_run_goes_on_where_it_stopped(evaluate, monkeypatch):
    monkeypatch.setattr(Mortal, "dies_in", 4)
    monkeypatch.setattr(Mortal, "runs", 0)
    with pytest.raises(KilledError):
        evaluate(attacks=[Mortal(steps=2)], threats=[GrayBox()])
    found = evaluate(attacks=[Mortal(steps=2)], threats=[GrayBox()])
    assert Mortal.runs == 2 * BATCHES + 1  # the one that it died of
    assert found == evaluate(cache=False, attacks=[Mortal(steps=2)], threats=[GrayBox()])


# ---------------------------------------------------------------- images


def test_kept_images_stay_in_the_budget_and_change_no_answer_twice(evaluate, gradients):
    looking = {"defenses": [NoDefense(), Bright(), Recording(taps=["early"])], "images": True}
    plain, first = evaluate(cache=False, **copy.deepcopy(looking)), evaluate(**copy.deepcopy(looking))
    gradients.clear()
    assert evaluate(**copy.deepcopy(looking)) == first
    assert not gradients
    for row, exact in zip(first[0], plain[0], strict=True):
        assert abs(row["correct"] - exact["correct"]) <= 1  # a perturbation is shorter by at most 1/1024
        assert exact["delta_mean"] * (1 - 2**-10) <= row["delta_mean"] <= exact["delta_mean"] * (1 + 1e-6)
        assert row["delta_max"] <= row["delta"] * (1 + 1e-6)


def test_a_tap_that_is_added_later_is_read_from_kept_images(evaluate, gradients, tmp_path):
    first = evaluate(images=True, taps=TAPS[:1])
    gradients.clear()
    found = evaluate(images=True)
    assert evaluate(images=True, taps=TAPS[:1]) == first  # which are still there
    assert not gradients
    shutil.rmtree(tmp_path / "cache")
    assert evaluate(images=True) == found
    assert gradients


def test_a_tap_that_is_added_later_costs_the_attack_without_images_and_only_once(evaluate, gradients, caplog):
    early, late = TAPS[:1], TAPS[1:]
    evaluate(taps=early)
    gradients.clear()
    with caplog.at_level(logging.INFO, logger="lit_knn"):
        found = evaluate(taps=late)
    assert gradients
    assert "keeps no images and lacks layer3.1.add, pool 1: attacking again" in caplog.text
    assert found == evaluate(cache=False, taps=late)
    gradients.clear()
    for taps in (early, late, TAPS):
        evaluate(taps=taps)
    assert not gradients


def test_rounded_images_are_not_taken_for_exact_ones(evaluate):
    gray = {"threats": [GrayBox()], "deltas": [0.1]}
    rounded = evaluate(images=True, **gray)
    exact = evaluate(**gray)
    assert exact == evaluate(cache=False, **gray) != rounded
    assert evaluate(images=True, **gray) == rounded


def test_a_defense_that_looks_at_the_image_is_asked_once(evaluate, gradients, monkeypatch):
    asked, call = [], Bright.__call__
    monkeypatch.setattr(Bright, "__call__", lambda self, query: asked.append(len(query.image)) or call(self, query))
    looking = {"defenses": [NoDefense(), Bright()], "threats": [GrayBox()]}
    found = evaluate(**looking)
    assert asked.count(12) == 2 * (1 + 2)  # batches of 12; clean, Δ
    gradients.clear()
    assert evaluate(**looking) == found
    assert not gradients
    assert sum(size > 2 for size in asked) == BATCHES * (1 + 2)  # two images show that it does not draw


def test_a_defense_that_looks_and_is_added_later_costs_the_attack_once(evaluate, gradients):
    gray = {"threats": [GrayBox()], "database": None}
    plain = evaluate(defenses=[NoDefense()], **gray)
    gradients.clear()
    looking = evaluate(defenses=[NoDefense(), Bright()], **gray)
    assert len(gradients) == 2 * 2 * BATCHES  # Δ, steps
    gradients.clear()
    assert evaluate(defenses=[NoDefense()], **gray) == plain
    assert (
        evaluate(defenses=[NoDefense(), Bright()], **gray)
        == looking
        == evaluate(cache=False, defenses=[NoDefense(), Bright()], **gray)
    )
    assert len(gradients) == 2 * 2 * BATCHES  # of the one without a cache


class Dim(Bright):
    """Looks at a darker image, by a factor that only its setting tells."""

    def __init__(self, factor):
        self._factor = factor

    def __call__(self, query):
        return query.classify(query.image * self._factor)[None]


def test_defenses_of_one_class_with_other_settings_have_scores_of_their_own(evaluate, gradients):
    gray = {"threats": [GrayBox()], "database": None}
    for factor in (0.5, 0.2):
        found = evaluate(defenses=[Dim(factor)], **gray)
        assert found == evaluate(cache=False, defenses=[Dim(factor)], **gray)


class Rounded(CrossEntropy):
    """The loss of rounded images, whose gradient is zero everywhere."""

    def bind(self, attack_target, target=0):
        return lambda image: attack_target.cross_entropy((image * 4).round() / 4)


@pytest.mark.parametrize("images", [False, True])
def test_a_cached_attack_that_had_no_gradient_is_told_again(images, evaluate, gradients):
    def again():
        changes = {"threats": [GrayBox()], "defenses": [NoDefense()], "database": None}
        return evaluate(images=images, attacks=[PGD(steps=2, objective=Rounded())], **changes)

    first = again()
    gradients.clear()
    assert again() == first
    assert not gradients
    assert [sentence[:44] for sentence in first[2]] == ["gray_box: PGD had no direction for 30 of 30 "]
