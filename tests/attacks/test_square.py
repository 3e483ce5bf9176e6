"""The Square attack: its schedule by hand, its search on digits and on the whole kNN pipeline."""

from copy import deepcopy

import pytest
import torch

from lit_knn.attacks import RandomNoise, Square
from lit_knn.attacks.objectives import Margin, Objective, margin
from lit_knn.attacks.square import share
from lit_knn.defenses import KNN, UW
from lit_knn.errors import UserError
from lit_knn.threat_models import WhiteBox
from lit_knn.threat_models.budget import RELATIVE_L2
from lit_knn.threat_models.norms import L2


def accuracy(network, image, label):
    return (network(image).argmax(1) == label).float().mean().item()


def margins(network, image, label):
    return margin(network(image), label)


@pytest.mark.parametrize("queries", [10_000, 500])
def test_the_share_is_halved_as_in_the_papers_table(queries):
    table = {0: 1, 11: 2, 51: 4, 201: 8, 501: 16, 1001: 32, 2001: 64, 4001: 128, 6001: 256, 8001: 512}
    for number in range(queries):
        scaled = int(number / queries * 10_000)
        assert share(number / queries) == 1 / table[max(start for start in table if start <= scaled)]


def test_it_breaks_a_network_it_cannot_differentiate_within_the_budget(network, digits):
    def model(image):
        assert not torch.is_grad_enabled()
        assert not image.requires_grad
        return network(image)

    image, label, id = (part[:64] for part in digits)
    attack = Square(queries=600, objective=Margin())
    (found,) = attack(model, image, label, id, [0.2])
    assert attack.name == "Square-margin"
    difference = L2.length(found.double() - image.double())
    assert (difference <= 0.2 * L2.length(image.double()) * (1 + 1e-6)).all()
    assert found.min() >= 0
    assert found.max() <= 1
    (noise,) = RandomNoise(restarts=50, objective=Margin())(network, image, label, id, [0.2])
    assert accuracy(network, found, label) < 0.4
    assert accuracy(network, noise, label) > 0.8


def test_more_queries_climb_higher(network, digits):
    heights = [
        margins(network, next(Square(queries=queries, objective=Margin())(network, *digits, [0.1])), digits[1]).mean()
        for queries in (1, 30, 300)
    ]
    assert heights == sorted(heights)
    assert heights[2] > heights[0] + 1


def test_what_lowers_the_objective_is_not_kept(network, digits):
    class Recorded(Margin):
        def bind(self, attack_target, target=0):
            self.images, self.values, score = [], [], super().bind(attack_target, target)

            def recorded(image):
                self.images.append(image)
                self.values.append(score(image))
                return self.values[-1]

            return recorded

    objective = Recorded()
    (found,) = Square(queries=60, objective=objective)(network, *digits, [0.1])
    assert len(objective.values) == 61  # the start and each query
    best = torch.stack(objective.values).argmax(0)
    expected = torch.stack(objective.images)[best, torch.arange(len(best))]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert len(best.unique()) > 20  # each image on its own


def test_on_a_plateau_it_keeps_moving(network, digits):
    class Plateau(Objective):
        def bind(self, attack_target, target=0):
            self.last = []

            def flat(image):
                self.last = image
                return torch.zeros(len(image))

            return flat

    objective = Plateau()
    (found,) = Square(queries=9, objective=objective)(network, *digits, [0.1])
    torch.testing.assert_close(found, objective.last, rtol=0, atol=1e-6)


@pytest.mark.parametrize("enough", [None, 0.0])
def test_batches_of_one_and_of_all_give_the_same(enough, network, digits):
    network = deepcopy(network).double()
    image, label, id = digits[0][:12].double(), digits[1][:12], digits[2][:12]
    attack = Square(queries=80, objective=Margin(), enough=enough)
    (together,) = attack(network, image, label, id, [0.2])
    apart = [next(attack(network, image[i : i + 1], label[i : i + 1], id[i : i + 1], [0.2])) for i in range(12)]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-11)
    assert 0 < (margins(network, together, label) > 0).sum() < 12  # some are frozen, some are not


def test_enough_is_enough(network, digits):
    calls = []

    def model(image):
        calls.append(image)
        return network(image)

    image, label, id = (part[:4] for part in digits)
    (stopped,) = Square(queries=400, objective=Margin(), enough=0.0)(model, image, label, id, [0.5])
    assert len(calls) < 300
    (climbed,) = Square(queries=400, objective=Margin())(network, image, label, id, [0.5])
    assert (margins(network, stopped, label) > 0).all()
    assert (margins(network, climbed, label) > margins(network, stopped, label)).all()


def test_the_hard_pipeline_index_lookup_included(classifier, gallery, data):
    defense = KNN(taps=["late"], k=[5], weightings=[UW()], combinations=["hard"])
    surrogate_defense = WhiteBox(defense=defense).surrogate_defense(classifier, gallery)
    image = torch.stack([data.image("queries", 0, row) for row in range(40)]).float() / 255
    label = surrogate_defense.scores(image).argmax(1)
    attack = Square(queries=150)
    assert attack.name == "Square-defense"
    (found,) = attack(classifier, image, label, torch.arange(40), [0.3], surrogate_defense)
    (noise,) = RandomNoise()(classifier, image, label, torch.arange(40), [0.3])
    right, floor = ((surrogate_defense.scores(x).argmax(1) == label).float().mean() for x in (found, noise))
    assert right < 0.5 * floor


def test_other_seeds_and_restarts_search_elsewhere(network, digits):
    first, second = (next(Square(queries=5, objective=Margin(), seed=s)(network, *digits, [0.1])) for s in (0, 1))
    assert (first != second).flatten(1).any(1).all()
    (both,) = Square(queries=5, objective=Margin(), restarts=2)(network, *digits, [0.1])
    assert (margins(network, both, digits[1]) >= margins(network, first, digits[1]) - 1e-5).all()


def test_values_that_are_not_finite_are_named(network, digits):
    class Broken(Objective):
        def bind(self, attack_target, target=0):
            return lambda image: torch.where(attack_target.ids == attack_target.ids[1], torch.nan, image.sum((1, 2, 3)))

    with pytest.raises(UserError, match=rf"objective of Square is not finite .* id {digits[2][1]}$"):
        list(Square(objective=Broken())(network, *digits, [0.1]))


@pytest.mark.parametrize("wrong", [{"queries": 0}, {"p_init": 0.0}, {"p_init": 1.1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=r"queries from 1 and p_init in \(0, 1\]"):
        Square(**wrong)


def test_radii_differ_within_a_batch(network, digits):
    image = digits[0] * torch.linspace(0.2, 1, len(digits[0])).view(-1, 1, 1, 1)
    (found,) = Square(queries=20, objective=Margin())(network, image, *digits[1:], [0.1])
    realized = L2.length(found - image)
    assert (realized <= RELATIVE_L2.radius(image, 0.1) * (1 + 1e-5)).all()
    assert realized.max() > 3 * realized.min()


def test_an_image_that_has_enough_is_asked_for_no_more(network, digits):
    asked = []

    def model(image):
        asked.append(len(image))
        return network(image)

    def attack(*rows):
        asked.clear()
        (found,) = Square(queries=60, objective=Margin(), enough=0.0)(model, *(part[[*rows]] for part in digits), [0.2])
        return found, sum(asked)

    together, passes = attack(*range(12))
    assert asked == sorted(asked, reverse=True)
    found, alone = zip(*(attack(row) for row in range(12)), strict=True)
    assert passes == sum(alone)
    assert min(alone) < max(alone) == 61  # one that never has enough: the first, and one for each of 60 queries
    torch.testing.assert_close(together, torch.cat(found), rtol=0, atol=1e-5)
