import pytest

from lit_knn.defenses import KNN, UW
from lit_knn.evaluation.checks import ThreatOrder
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox
from tests.evaluation.checks.conftest import LATE, NONE, evidence, rows


@pytest.fixture
def threats(classifier):
    white = WhiteBox(defense=KNN(taps=["late"], k=[5], weightings=[UW()]), name="white_box late")
    return [GrayBox(), BlackBox(surrogates=[classifier]), white]


def judge(threats, **accuracies):
    """Return the finding on accuracies of the late tap by threat."""
    names = {"gray": "gray_box", "black": "black_box", "white": "white_box late"}
    made = [row for name, a in accuracies.items() for row in rows({0.1: a}, threat=names[name], variant=LATE)]
    return ThreatOrder()(evidence(made, threats=threats))


@pytest.mark.parametrize(
    ("white", "gray", "black", "verdict"),
    [
        (0.1, 0.5, 0.9, "pass"),
        (0.52, 0.5, 0.48, "pass"),  # within the intervals
        (0.7, 0.5, 0.9, "warn"),  # the white box makes nothing of what it knows
        (0.1, 0.9, 0.5, "fail"),  # gradients of the defended network are worse than another's
        (0.9, 0.9, 0.5, "fail"),
        (0.1, 0.7, 0.5, "fail"),
    ],
)
def test_who_knows_more_does_more(threats, white, gray, black, verdict):
    assert judge(threats, white=white, gray=gray, black=black).verdict == verdict


def test_two_threats_are_enough_and_one_is_not(threats):
    assert judge(threats, white=0.9, black=0.5).verdict == "fail"
    assert judge(threats, white=0.9, gray=0.5).verdict == "warn"
    found = judge(threats, gray=0.5)
    assert found.verdict == "skipped"
    assert "add GrayBox, BlackBox or WhiteBox" in found.sentence


def test_a_white_box_does_not_attack_what_it_has_no_copy_of(threats):
    weak = rows({0.1: 0.9}, threat="white_box late", variant=NONE)
    assert ThreatOrder()(evidence([*weak, *rows({0.1: 0.5})], threats=threats)).verdict == "skipped"


def test_the_strongest_attack_of_each_threat_counts_and_neither_clean_images_nor_the_worst_case(threats):
    made = [*rows({0.0: 0.2, 0.1: 0.5}), *rows({0.1: 0.9}, attack="FGSM")]
    made += [*rows({0.0: 0.1, 0.1: 0.7}, threat="black_box"), *rows({0.1: 0.1}, threat="all", attack="worst case")]
    assert ThreatOrder()(evidence(made, threats=threats)).verdict == "pass"


def test_a_black_box_above_is_told_before_a_larger_gap_elsewhere(threats):
    found = judge(threats, white=0.95, gray=0.6, black=0.5)
    assert found.verdict == "fail"
    assert "keeps 50 % under PGD (black box), but 95 % under PGD (white box late)" in found.sentence
