import pytest
import torch

from lit_knn.attacks import APGD, FGSM, PGD
from lit_knn.attacks.objectives import EOT, CrossEntropy, DefenseMargin, SoftKNN
from lit_knn.defenses import Query, TransformedClassifier
from lit_knn.errors import UserError
from lit_knn.evaluation.checks import MoreEffort
from lit_knn.randomness import Randomness, run_seed
from lit_knn.threat_models import BlackBox, GrayBox, WhiteBox
from tests.defenses.transformations.conftest import Noisy

EXPECTED = EOT(objective=DefenseMargin(), draws=2, evaluations=10)
FAST = {"factors": [2], "restarts": 2}


@pytest.mark.parametrize("threat", [GrayBox(), WhiteBox()], ids=["gray", "white"])
def test_an_attack_that_has_converged_passes_and_a_lazy_one_is_caught(attacked, threat):
    objective = SoftKNN() if threat.adaptive else CrossEntropy()
    honest = APGD(steps=20, objective=objective)
    lazy = PGD(steps=1, step_size=0.1, objective=objective)
    assert MoreEffort(**FAST)(attacked([honest], [threat], deltas=[0.075], images=16)).verdict == "pass"
    found = MoreEffort(factors=[2, 16], restarts=2)(attacked([lazy], [threat], deltas=[0.1], images=16))
    assert found.verdict == "fail"
    assert "with 16× steps" in found.sentence


def test_the_curve_is_that_of_attacks_with_more_steps_and_restarts(attacked):
    evidence = attacked([PGD(steps=2, step_size=0.5)], images=32)
    (case,) = evidence.evaluation.cases
    curve = MoreEffort(factors=[2, 8], restarts=3)._curve(evidence, case[0], [case[1]])

    def accuracy(attack, delta):
        (image,) = attack(evidence.evaluation.classifier, evidence.image, evidence.label, evidence.ids, [delta])
        return float((evidence.evaluation.classifier(image).argmax(1) == evidence.label).float().mean())

    own = {delta: accuracy(PGD(steps=2, step_size=0.5), delta) for delta in (0.05, 0.1, 0.15)}
    half = float((evidence.evaluation.classifier(evidence.image).argmax(1) == evidence.label).float().mean()) / 2
    assert curve.delta == min(own, key=lambda delta: abs(own[delta] - half))
    assert curve.own == own[curve.delta]
    expected = {
        "2× steps": PGD(steps=4, step_size=1.0),
        "8× steps": PGD(steps=16, step_size=4.0),
        "3× restarts": PGD(steps=2, step_size=0.5, restarts=3),
    }
    assert curve.tries == {effort: accuracy(attack, curve.delta) for effort, attack in expected.items()}
    assert curve.fall == curve.own - min(curve.tries.values()) > 0.2


def test_efforts_are_compared_in_the_norm_of_the_run(attacked):
    evidence = attacked([PGD(steps=2)], deltas=["8/255", "32/255"], norm="linf", images=16)
    ((threat, attack),) = evidence.evaluation.cases
    curve = MoreEffort(**FAST)._curve(evidence, threat, [attack])
    query = evidence.image, evidence.label, evidence.ids, [32 / 255]
    (image,) = attack(evidence.evaluation.classifier, *query, norm="linf")
    right = evidence.evaluation.classifier(image).argmax(1) == evidence.label
    assert (curve.delta, curve.own) == (32 / 255, float(right.float().mean()))
    assert str(curve).startswith("under PGD (gray box) at L∞ = 32/255 the accuracy is ")


def test_a_lazy_attack_is_no_matter_beside_one_that_has_had_enough(attacked):
    lazy, honest = PGD(steps=1, step_size=0.1), APGD(steps=20)
    assert MoreEffort(**FAST)(attacked([lazy, honest], deltas=[0.075], images=16)).verdict == "pass"


def test_the_threat_that_gains_most_is_told(attacked, classifier):
    evidence = attacked([PGD(steps=1, step_size=0.1)], [GrayBox(), BlackBox(surrogates=[classifier], name="same")])
    (first, attack), (second, _) = evidence.evaluation.cases
    check = MoreEffort(factors=[2], restarts=2)
    falls = {threat.name: check._curve(evidence, threat, [attack]).fall for threat in (first, second)}
    assert falls["gray_box"] == falls["same"]  # a black box is judged by its own network, here the same one
    assert "PGD (gray box)" in check(evidence).sentence


def test_the_attacks_of_the_run_stay_as_they_are(attacked):
    pgd, apgd = PGD(steps=2), APGD(steps=2)
    MoreEffort(**FAST)(attacked([pgd, apgd], images=2))
    assert (pgd.steps, pgd.step_size, pgd.restarts, apgd.steps, apgd.restarts) == (2, 2.5, 1, 2, 1)


def test_the_weights_get_no_gradients_and_the_answer_does_not_change(attacked):
    evidence = attacked([PGD(steps=2)], images=4)
    with torch.no_grad():  # as in a test
        assert MoreEffort(**FAST)(evidence) == MoreEffort(**FAST)(evidence)
    assert all(parameter.grad is None for parameter in evidence.evaluation.classifier.parameters())


def test_a_copy_that_answers_at_random_is_evaluated_several_times_and_tries_more_draws(attacked):
    defense, attack = TransformedClassifier(transformation=Noisy()), PGD(steps=2, objective=EXPECTED)
    evidence = attacked([attack], [WhiteBox(defense=defense)], deltas=[0.1], images=16)
    evaluation = evidence.evaluation
    ((threat, _),) = evaluation.cases
    curve = MoreEffort(factors=[2, 3], restarts=2)._curve(evidence, threat, [attack])

    def accuracy(attack):
        query = evidence.image, evidence.label, evidence.ids, [0.1], evaluation.surrogate_defense(threat)
        (image,) = attack(evaluation.classifier, *query)
        own = [Randomness(run_seed(), evidence.ids).of("more effort", number) for number in range(10)]
        asked = [Query(image, evaluation.classifier, randomness=numbers) for numbers in own]
        right = [defense(query)[0].argmax(1) == evidence.label for query in asked]
        return float(torch.stack(right).float().mean())

    drawn = EOT(objective=DefenseMargin(), draws=6, evaluations=10)
    assert curve.own == pytest.approx(accuracy(attack))
    assert curve.tries == {
        "2× steps": pytest.approx(accuracy(PGD(steps=4, step_size=5.0, objective=EXPECTED))),
        "3× steps": pytest.approx(accuracy(PGD(steps=6, step_size=7.5, objective=EXPECTED))),
        "2× restarts": pytest.approx(accuracy(PGD(steps=2, restarts=2, objective=EXPECTED))),
        "3× draws": pytest.approx(accuracy(PGD(steps=2, objective=drawn))),
    }
    assert EXPECTED.draws == 2


def test_an_attack_without_steps_is_left_out(attacked):
    found = MoreEffort()(attacked([FGSM()]))
    assert found.verdict == "skipped"
    assert "add PGD" in found.sentence


@pytest.mark.parametrize("options", [{"factors": []}, {"factors": [1]}, {"restarts": 1}, {"tolerance": 0.5}])
def test_settings(options):
    with pytest.raises(UserError, match=str(next(iter(options)))):
        MoreEffort(**options)
