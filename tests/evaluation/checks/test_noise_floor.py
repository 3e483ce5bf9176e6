import pytest

from lit_knn.attacks import PGD, RandomNoise
from lit_knn.errors import UserError
from lit_knn.evaluation.checks import NoiseFloor
from lit_knn.report.results import Variant
from tests.evaluation.checks.conftest import LATE, evidence, rows

ATTACKS = [PGD(), RandomNoise(name="noise")]


def judge(noise, attack, **options):
    made = [*rows(noise, attack="noise"), *rows(attack)]
    return NoiseFloor(**options)(evidence(made, attacks=ATTACKS))


@pytest.mark.parametrize(
    ("noise", "attack", "verdict"),
    [
        ({0.1: 0.97, 0.2: 0.95}, {0.1: 0.5, 0.2: 0.1}, "pass"),
        ({0.1: 0.97, 0.9: 0.1}, {0.1: 0.5, 0.9: 0.1}, "pass"),  # noise may win in the end
        ({0.1: 0.97, 0.2: 0.95}, {0.1: 0.96, 0.2: 0.85}, "warn"),
        ({0.1: 0.97, 0.2: 0.95}, {0.1: 0.97, 0.2: 0.96}, "fail"),
    ],
)
def test_attacks_are_far_below_noise_somewhere(noise, attack, verdict):
    assert judge(noise, attack).verdict == verdict


def test_the_variant_that_is_attacked_worst_decides():
    made = [*rows({0.1: 0.97}, attack="noise"), *rows({0.1: 0.1})]
    made += [*rows({0.1: 0.9}, attack="noise", variant=LATE), *rows({0.1: 0.89}, variant=LATE)]
    found = NoiseFloor()(evidence(made, attacks=ATTACKS))
    assert found.verdict == "fail"
    assert found.sentence.startswith(
        "kNN late K=5 CBW-D soft N=1297 at Δ = 0.1 keeps 90 % under noise and 89 % under PGD"
    )


def test_what_counts_as_far_may_be_set():
    assert judge({0.1: 0.9}, {0.1: 0.6}).verdict == "pass"
    assert judge({0.1: 0.9}, {0.1: 0.6}, gap=0.5).verdict == "warn"
    with pytest.raises(UserError, match="gap: 0"):
        NoiseFloor(gap=0)


def test_without_noise_or_without_attacks_there_is_nothing_to_compare():
    assert NoiseFloor()(evidence(rows({0.1: 0.5}))).sentence == "add RandomNoise to model.attacks"
    found = NoiseFloor()(evidence(rows({0.1: 0.5}, attack="noise"), attacks=ATTACKS[1:]))
    assert found.verdict == "skipped"
    assert "besides RandomNoise" in found.sentence


def test_clean_images_are_not_compared():
    assert judge({0.0: 0.98, 0.1: 0.97}, {0.0: 0.1, 0.1: 0.97}).verdict == "fail"


def test_the_worst_case_over_all_is_no_attack():
    made = [*rows({0.1: 0.9}, attack="noise"), *rows({0.1: 0.9}), *rows({0.1: 0.3}, threat="all", attack="worst case")]
    assert NoiseFloor()(evidence(made, attacks=ATTACKS)).verdict == "fail"


def test_of_several_evaluations_the_mean_is_compared():
    """The worst of ten is next to nothing under noise, too."""
    made = []
    for line, noise, attack in zip(Variant("crop").evaluated(10), (0.9, 0.1, 0.95), (0.1, 0.05, 0.05), strict=True):
        made += [*rows({0.1: noise}, attack="noise", variant=line), *rows({0.1: attack}, variant=line)]
    found = NoiseFloor()(evidence(made, attacks=ATTACKS))
    assert found.verdict == "pass"
    assert "crop mean-of-10 at Δ = 0.1 keeps 90 % under noise and 10 % under PGD" in found.sentence
