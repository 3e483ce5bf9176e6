import pytest

from lit_knn.attacks import PGD, Attack, RandomNoise
from lit_knn.defenses import KNN, UW
from lit_knn.evaluation.checks import GradientMasking
from lit_knn.threat_models import GrayBox, WhiteBox
from tests.evaluation.checks.conftest import LATE, NONE, evidence, rows


class Blind(Attack):
    gradient_free = True

    def prepare(self, attack_target, objective, randomness):
        raise NotImplementedError


ATTACKS = [PGD(), Blind()]
WHITE = WhiteBox(defense=KNN(taps=["late"], k=[5], weightings=[UW()]), name="white_box late")


def judge(free, based, *, attacks=ATTACKS, **where):
    made = [*rows({0.1: free}, attack="Blind", **where), *rows({0.1: based}, **where)]
    return GradientMasking()(evidence(made, attacks=attacks, threats=[GrayBox(), WHITE]))


@pytest.mark.parametrize(("free", "based", "verdict"), [(0.6, 0.1, "pass"), (0.5, 0.53, "pass"), (0.4, 0.6, "fail")])
@pytest.mark.parametrize("where", [{}, {"threat": "white_box late", "variant": LATE}])
def test_gradients_are_worth_having(free, based, verdict, where):
    assert judge(free, based, **where).verdict == verdict


def test_the_sentence_names_both_attacks():
    assert judge(0.4, 0.6).sentence.startswith(
        "none at Δ = 0.1 keeps 40 % under Blind, which takes no gradients, but 60 % under PGD"
    )


def test_only_what_a_threat_attacks_is_compared():
    for where in ({"variant": LATE}, {"threat": "white_box late", "variant": NONE}, {"threat": "black_box"}):
        found = judge(0.4, 0.6, **where)
        assert found.verdict == "skipped"
        assert "add NoDefense" in found.sentence


def test_noise_is_no_attack_without_gradients_to_speak_of_but_may_be_the_stronger_one():
    found = judge(0.4, 0.6, attacks=[PGD(), RandomNoise(name="Blind")])
    assert found.verdict == "skipped"
    assert "such as Square" in found.sentence
    made = [*rows({0.1: 0.9}, attack="Blind"), *rows({0.1: 0.2}, attack="noise"), *rows({0.1: 0.6})]
    attacks = [*ATTACKS, RandomNoise(name="noise")]
    assert GradientMasking()(evidence(made, attacks=attacks)).verdict == "fail"


def test_the_worst_case_of_both_kinds_is_of_neither():
    made = [*rows({0.1: 0.4}, attack="Blind"), *rows({0.1: 0.6}), *rows({0.1: 0.4}, attack="worst case")]
    assert GradientMasking()(evidence(made, attacks=ATTACKS)).verdict == "fail"


def test_each_threat_is_compared_with_itself():
    made = [*rows({0.1: 0.1}, attack="Blind"), *rows({0.1: 0.1})]
    made += rows({0.1: 0.9}, threat="white_box late", variant=LATE)
    assert GradientMasking()(evidence(made, attacks=ATTACKS, threats=[GrayBox(), WHITE])).verdict == "pass"


def test_attacks_say_whether_they_take_gradients():
    assert not PGD().gradient_free
    assert RandomNoise().gradient_free
