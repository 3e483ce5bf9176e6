import pytest
from pytorch_lightning import Trainer

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import Objective
from lit_knn.errors import UserError
from lit_knn.evaluation.checks import Evidence, ReachesZero
from lit_knn.evaluation.module import Evaluation
from tests.evaluation.checks.conftest import LATE, NOTHING, evidence, rows

TO_ZERO = {0.0: 0.98, 0.1: 0.5, 0.2: 0.02}


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (TO_ZERO, "pass"),
        ({0.0: 0.98, 0.1: 0.7, 0.2: 0.4}, "warn"),  # still falling
        ({0.0: 0.98, 0.05: 0.5, 0.1: 0.42, 0.2: 0.4}, "fail"),  # flat above
        ({0.0: 0.98, 0.1: 0.97, 0.2: 0.96}, "fail"),  # an attack that does nothing
        ({0.0: 0.98, 0.1: 0.5}, "warn"),  # one Δ: falls from the clean images
        ({0.1: 0.5}, "fail"),  # nothing to fall from
    ],
)
def test_the_end_of_the_curve_decides(curve, verdict):
    assert ReachesZero()(evidence(rows(curve))).verdict == verdict


def test_the_strongest_attack_counts_for_each_variant():
    strong, weak = rows(TO_ZERO), rows({0.0: 0.98, 0.1: 0.9, 0.2: 0.9}, attack="FGSM")
    assert ReachesZero()(evidence([*weak, *strong])).verdict == "pass"
    defended = rows({0.0: 0.98, 0.1: 0.9, 0.2: 0.9}, variant=LATE)
    found = ReachesZero()(evidence([*strong, *defended]))
    assert found.verdict == "fail"
    assert "kNN late K=5 CBW-D soft N=1297 at Δ = 0.2 keeps 90 % under PGD (gray box)" in found.sentence
    assert "1 of 2 variants" in found.sentence


def test_one_flat_curve_is_worse_than_a_higher_one_that_falls():
    flat = rows({0.0: 0.98, 0.1: 0.3, 0.2: 0.3})
    falling = rows({0.0: 0.98, 0.1: 0.9, 0.2: 0.6}, variant=LATE)
    found = ReachesZero()(evidence([*falling, *flat]))
    assert found.verdict == "fail"
    assert found.sentence.startswith("none at Δ = 0.2 keeps 30 %")


def test_what_counts_as_none_may_be_set():
    assert ReachesZero(tolerance=0.01)(evidence(rows(TO_ZERO))).verdict == "warn"
    with pytest.raises(UserError, match="tolerance: 1"):
        ReachesZero(tolerance=1)


def test_larger_k_of_topk_are_not_looked_at():
    assert ReachesZero()(evidence([*rows(TO_ZERO), *rows({0.2: 0.9}, topk=5)])).verdict == "pass"


def test_no_results():
    assert ReachesZero()(evidence([])).verdict == "skipped"


class WrongSign(Objective):
    """A deliberate mistake: it makes the true class more likely."""

    def bind(self, attack_target, target=0):
        return lambda image: -attack_target.cross_entropy(image)


@pytest.mark.parametrize(("attack", "verdict"), [(PGD(), "pass"), (PGD(objective=WrongSign()), "fail")])
def test_a_real_attack_reaches_zero_and_one_with_the_wrong_sign_does_not(classifier, data, attack, verdict):
    evaluation = Evaluation(classifier=classifier, attacks=[attack], deltas=[0.1, 0.2, 0.4])
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    Trainer(accelerator="cpu", devices=1, **quiet).test(evaluation, data, verbose=False)
    found = ReachesZero()(Evidence(evaluation.results, evaluation, NOTHING, NOTHING, NOTHING))
    assert found.verdict == verdict
