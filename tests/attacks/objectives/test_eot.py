"""Expectation over transformation: the mean and its gradient by hand, and a randomized defense that it breaks."""

import weakref
from itertools import cycle

import pytest
import torch

from lit_knn.attacks import PGD, Square
from lit_knn.attacks.gradient import gradient
from lit_knn.attacks.objectives import EOT, CrossEntropy, DefenseMargin, Objective, SoftKNN, TargetedDLR
from lit_knn.defenses import KNN, UW, Query, RandomDatabase, Transformation, TransformedClassifier
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models import WhiteBox
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.surrogate_defense import SurrogateDefense


class Drawn(Objective):
    """A draw is the next of several slopes: value = slope · sum(image)."""

    suffix = "drawn"
    targets = 3

    def __init__(self, *slopes):
        self.slopes, self.calls = cycle(slopes), 0

    def bind(self, attack_target, target=0):
        def score(image):
            self.calls += 1
            return next(self.slopes) * image.sum((1, 2, 3)) ** 2

        return score

    def choice(self, attack_target):
        return lambda image: 10 + next(self.slopes) * image.sum((1, 2, 3))


@pytest.fixture
def attack_target():
    image = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return AttackTarget(lambda image: image.mean((2, 3)), image, torch.zeros(4).long(), torch.arange(4))


def test_value_and_gradient_are_those_of_the_mean(attack_target):
    inner = Drawn(1.0, -2.0, 7.0)
    value, ascent = gradient(attack_target, EOT(objective=inner, draws=3).bind(attack_target), attack_target.image)
    total = attack_target.image.sum((1, 2, 3))
    assert inner.calls == 3
    torch.testing.assert_close(value, 2 * total**2)
    torch.testing.assert_close(ascent, (4 * total).view(-1, 1, 1, 1).expand_as(attack_target.image))
    with torch.no_grad():
        torch.testing.assert_close(EOT(objective=inner, draws=3).bind(attack_target)(attack_target.image), 2 * total**2)


def test_candidates_are_chosen_by_fresh_evaluations_of_the_inner_choice(attack_target):
    inner = Drawn(*range(20))
    score = EOT(objective=inner, draws=1, evaluations=20).choice(attack_target)
    torch.testing.assert_close(score(attack_target.image), 10 + 9.5 * attack_target.image.sum((1, 2, 3)))


def test_what_looks_at_all_rows_is_asked_once_and_its_choice_as_often_as_ever(classifier, gallery, data):
    """A soft vote draws nothing of a random part of the rows; the answers that choose between runs do."""
    batch = data.on_after_batch_transfer(data.first_queries())
    image, label, ids = (batch[name][:2] for name in ("image", "label", "id"))
    copied = RandomDatabase(defense=KNN(taps=["late"], k=[3], weightings=[UW()]))
    attack_target = AttackTarget(classifier, image, label, ids, SurrogateDefense(classifier, copied, gallery))
    objective = EOT(objective=SoftKNN(), draws=5, evaluations=10)
    for score, times in ((objective.bind(attack_target), 1), (objective.choice(attack_target), 10)):
        score(image)
        assert attack_target.passes.take()[:, 0].tolist() == [times, times]


def test_no_more_than_one_graph_is_held_at_a_time(attack_target):
    graphs = []

    class Heavy(Objective):
        def bind(self, attack_target, target=0):
            def score(image):
                assert all(graph() is None for graph in graphs)
                hidden = image * 2
                graphs.append(weakref.ref(hidden))
                return (hidden**2).sum((1, 2, 3))

            return score

    gradient(attack_target, EOT(objective=Heavy(), draws=5).bind(attack_target), attack_target.image)
    assert len(graphs) == 5


def test_it_says_what_it_averages():
    assert EOT(objective=CrossEntropy()).suffix == "EOT"
    assert PGD(objective=EOT(objective=DefenseMargin())).name == "PGD-EOT-defense"
    assert EOT(objective=DefenseMargin()).adaptive
    assert not EOT(objective=CrossEntropy()).adaptive
    assert EOT(objective=TargetedDLR(targets=5)).targets == 5


def test_without_a_gradient_the_attack_says_so(attack_target):
    class Flat(Objective):
        def bind(self, attack_target, target=0):
            return lambda image: image.detach().sum((1, 2, 3))

    with pytest.raises(UserError, match="no gradient"):
        gradient(attack_target, EOT(objective=Flat()).bind(attack_target), attack_target.image)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"evaluations": 9}])
def test_too_few_evaluations_are_refused(wrong):
    with pytest.raises(UserError, match="draws from 1 and evaluations from 10"):
        EOT(objective=CrossEntropy(), **wrong)


class Shaken(Transformation):
    """Strong noise, another one each time."""

    name = "shaken"

    def __call__(self, image, randomness):
        return image + 0.3 * randomness.normal(image)


@pytest.fixture
def queries(classifier, data):
    image = torch.stack([data.image("queries", 0, row) for row in range(60)]).float() / 255
    return image, classifier(image).argmax(1), torch.arange(60)


def expected_accuracy(defense, classifier, image, label):
    """The share of right answers over 60 draws."""
    streams = [Randomness(seed, torch.arange(60)) for seed in range(60)]
    answers = [defense(Query(image, classifier, randomness=stream))[0].argmax(1) == label for stream in streams]
    return torch.stack(answers).float().mean().item()


def test_the_mean_breaks_a_randomized_defense_better_than_single_draws(classifier, queries):
    defense = TransformedClassifier(transformation=Shaken())
    surrogate_defense = WhiteBox(defense=defense).surrogate_defense(classifier, None)
    found = {}
    for objective in (DefenseMargin(), EOT(objective=DefenseMargin(), draws=10)):
        attack = PGD(steps=10, objective=objective)
        (image,) = attack(classifier, *queries, [0.15], surrogate_defense)
        found[attack.name] = expected_accuracy(defense, classifier, image, queries[1])
    clean = expected_accuracy(defense, classifier, *queries[:2])
    assert found["PGD-EOT-defense"] < found["PGD-defense"] - 0.03 < clean - 0.1


def test_a_search_without_gradients_climbs_the_mean_as_well(classifier, queries):
    defense = TransformedClassifier(transformation=Shaken())
    surrogate_defense = WhiteBox(defense=defense).surrogate_defense(classifier, None)
    attack = Square(queries=3, objective=EOT(objective=DefenseMargin(), draws=2))
    (image,) = attack(classifier, *queries, [0.15], surrogate_defense)
    assert attack.name == "Square-EOT-defense"
    assert image.shape == queries[0].shape
