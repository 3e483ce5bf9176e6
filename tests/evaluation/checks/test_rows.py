import pytest

from lit_knn.defenses import KNN, UW, Similarity
from lit_knn.evaluation.checks.rows import (
    aims_at,
    cell,
    grouped,
    is_above,
    percent,
    strongest,
    variant,
    where,
    who,
)
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox
from tests.evaluation.checks.conftest import EARLY, LATE, NONE, rows


def test_groups_keep_the_order():
    made = [*rows({0.1: 0.5, 0.2: 0.4}), *rows({0.1: 0.3}, attack="FGSM")]
    assert {key: [row["accuracy"] for row in group] for key, group in grouped(made, cell).items()} == {
        (NONE, 0.1): [0.5, 0.3],
        (NONE, 0.2): [0.4],
    }
    assert strongest(made)["attack"] == "FGSM"
    assert variant(made[0]) == NONE


@pytest.mark.parametrize(("high", "low", "n", "apart"), [(0.5, 0.4, 500, True), (0.5, 0.4, 50, False)])
def test_above_is_beyond_both_intervals(high, low, n, apart):
    (upper,), (lower,) = (rows({0.1: accuracy}, n=n) for accuracy in (high, low))
    assert is_above(upper, lower) is apart
    assert not is_above(lower, upper)


def test_a_threat_aims_at_what_it_attacks(classifier):
    none, early, late = (rows({0.1: 0.5}, variant=variant)[0] for variant in (NONE, EARLY, LATE))
    white = WhiteBox(defense=KNN(taps=["late"], k=[50], weightings=[UW()]))  # another K of the same tap
    expected = {GrayBox(): (True, False, False), white: (False, False, True)}
    expected[BlackBox(surrogates=[classifier])] = (False, False, False)
    for threat, aims in expected.items():
        assert tuple(aims_at(threat, row) for row in (none, early, late)) == aims
    (similar,) = rows({0.1: 0.5}, variant=LATE._replace(weighting="cosine(T=0.07)"))
    assert not aims_at(white, similar)
    assert aims_at(WhiteBox(defense=KNN(taps=["late"], weightings=[Similarity()])), similar)


def test_words():
    (row,) = rows({0.1: 0.5}, variant=LATE, threat="white_box late")
    assert where(row) == "kNN late K=5 CBW-D soft N=1297 at Δ = 0.1"
    assert where(rows({0.25: 0.5})[0]) == "none at Δ = 0.25"
    assert where(rows({8 / 255: 0.5}, norm="linf")[0]) == "none at L∞ = 8/255"
    assert who(row) == "PGD (white box late)"
    assert [percent(share) for share in (0, 0.031, 0.42, 1)] == ["0 %", "3.1 %", "42 %", "100 %"]
