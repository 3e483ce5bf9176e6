import pytest

from lit_knn.evaluation.checks import FallsWithDelta
from tests.evaluation.checks.conftest import LATE, evidence, rows


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        ({0.0: 0.98, 0.1: 0.5, 0.2: 0.1}, "pass"),
        ({0.0: 0.98, 0.1: 0.5, 0.2: 0.53}, "pass"),  # within the intervals of 500 queries
        ({0.0: 0.98, 0.1: 0.5, 0.2: 0.65}, "fail"),
        ({0.2: 0.65, 0.0: 0.98, 0.1: 0.5}, "fail"),  # in any order
        ({0.0: 0.98, 0.1: 0.4, 0.2: 0.45, 0.3: 0.5}, "fail"),  # each step is within, all are not
        ({0.1: 0.5}, "pass"),
    ],
)
def test_no_curve_may_rise(curve, verdict):
    assert FallsWithDelta()(evidence(rows(curve))).verdict == verdict


def test_each_attack_and_variant_is_a_curve_of_its_own():
    made = [*rows({0.1: 0.2, 0.2: 0.1}), *rows({0.1: 0.6, 0.2: 0.5}, attack="FGSM")]
    assert FallsWithDelta()(evidence([*made, *rows({0.2: 0.9}, variant=LATE)])).verdict == "pass"


def test_the_largest_rise_is_told():
    made = [*rows({0.1: 0.2, 0.2: 0.4}), *rows({0.1: 0.2, 0.2: 0.6}, variant=LATE, threat="black_box")]
    assert FallsWithDelta()(evidence(made)).sentence.startswith(
        "under PGD (black box) the accuracy of kNN late K=5 CBW-D soft N=1297 at Δ = 0.2 is 60 %, "
        "above the 20 % at Δ = 0.1"
    )


def test_no_results():
    assert FallsWithDelta()(evidence([])).verdict == "skipped"
