"""The Square attack: its windows and schedule by hand, its search on digits and on the whole kNN pipeline."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from lit_knn.attacks import RandomNoise, Square
from lit_knn.attacks.objectives import Margin, Objective, TargetedDLR, margin
from lit_knn.attacks.perturbation import norm, radius
from lit_knn.attacks.square import bump, propose, share, tiles, window_side
from lit_knn.defenses import KNN, UW
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models import WhiteBox


def accuracy(network, image, label):
    return (network(image).argmax(1) == label).float().mean().item()


def margins(network, image, label):
    return margin(network(image), label)


# The window --------------------------------------------------------------------------------------------------------


def test_a_bump_of_three_pixels_by_hand():
    upper = np.array([[1, 5, 1]]) / 27**0.5  # 1/4, 1 + 1/4, 1/4: the second square reaches everywhere
    lower = np.array([[1, 1, 1], [1, 5, 1]]) / 30**0.5
    upright = np.concatenate([upper, -lower]) / 2**0.5
    found = bump(3, torch.tensor([[0.1, 0.1, 0.9], [0.9, 0.1, 0.1]], dtype=torch.float64)).numpy()  # (2, 2, 3, 3)
    np.testing.assert_allclose(found, [[upright, -upright], [upright.T, upright.T]], atol=1e-12)


@pytest.mark.parametrize("side", [3, 5, 9, 27, 44])
def test_bumps_are_torchattacks(side, monkeypatch):
    torchattacks = pytest.importorskip("torchattacks")
    theirs = torchattacks.Square(torch.nn.Identity(), norm="L2")
    for coin in (0.1, 0.9):  # it turns above a half
        monkeypatch.setattr(torch, "rand", lambda _, coin=coin: torch.tensor([coin]))
        ours = bump(side, torch.tensor([coin, 0.0]))[0]
        torch.testing.assert_close(ours, theirs.eta(side), rtol=0, atol=1e-6)


@pytest.mark.parametrize("queries", [10_000, 500])
def test_the_share_is_halved_as_in_the_papers_table(queries):
    table = {0: 1, 11: 2, 51: 4, 201: 8, 501: 16, 1001: 32, 2001: 64, 4001: 128, 6001: 256, 8001: 512}
    for number in range(queries):
        scaled = int(number / queries * 10_000)
        assert share(number / queries) == 1 / table[max(start for start in table if start <= scaled)]


def test_windows_are_odd_and_fit_the_image():
    assert window_side(224, 224, 0.8) == 201  # √(0.8·224²) = 200.4, made odd
    assert window_side(224, 224, 0.8 / 512) == 9
    assert window_side(32, 32, 1e-9) == 3
    assert window_side(8, 8, 1.0) == 7
    assert window_side(7, 7, 1.0) == 7
    assert window_side(8, 100, 1.0) == 7
    assert window_side(2, 2, 0.5) == 1


def test_a_proposal_moves_one_window_into_another_and_spends_the_rest_of_the_budget():
    random = torch.Generator().manual_seed(0)
    delta = torch.randn(64, 3, 12, 10, generator=random, dtype=torch.float64)
    radius = 1.1 * norm(delta)  # some budget is left over
    draw = torch.rand(64, 8, generator=random, dtype=torch.float64)
    found = propose(delta, radius.view(-1, 1, 1, 1), 5, draw)
    for image in range(64):
        top, left, top2, left2 = (
            int(u * (size - 5 + 1)) for u, size in zip(draw[image, :4].tolist(), (12, 10, 12, 10), strict=True)
        )
        old, new = delta[image].numpy(), found[image].numpy()
        first, second = np.zeros((2, 12, 10), bool)
        first[top : top + 5, left : left + 5] = second[top2 : top2 + 5, left2 : left2 + 5] = True
        np.testing.assert_array_equal(new[:, ~(first | second)], old[:, ~(first | second)])
        assert not new[:, second & ~first].any()
        unused = float(radius[image]) ** 2 - (old**2).sum()
        freed = (old[:, first | second] ** 2).sum(1)  # of each channel
        np.testing.assert_allclose((new[:, first] ** 2).sum(1), freed + unused / 3)
        shape = old[:, first] / np.linalg.norm(old[:, first], axis=1, keepdims=True)
        shape += bump(5, draw[image, 4:]).flatten(1).numpy()
        cosine = (shape * new[:, first]).sum(1) / np.linalg.norm(shape, axis=1) / np.linalg.norm(new[:, first], axis=1)
        np.testing.assert_allclose(cosine, 1)
    norms = (found**2).sum((1, 2, 3)).sqrt()
    torch.testing.assert_close(norms, radius)


def test_windows_reach_every_edge_and_never_leave():
    delta = torch.ones(2, 3, 9, 6)
    ends = torch.tensor([[0.0] * 4 + [0.2] * 4, [1 - 2**-24] * 4 + [0.2] * 4])
    found = propose(delta, torch.full((2, 1, 1, 1), 1e3), 5, ends)
    assert (found[0, :, :5, :5] != 1).all()
    assert (found[0, :, 5:] == 1).all()
    assert (found[1, :, 4:, 1:] != 1).all()
    assert (found[1, :, :4] == 1).all()


@pytest.mark.parametrize(
    ("size", "side", "corner"),
    [((8, 8), 1, (0, 0)), ((32, 32), 6, (1, 1)), ((224, 224), 44, (2, 2)), ((3, 4), 1, (0, 0)), ((20, 11), 2, (0, 0))],
)
def test_tiles_cover_the_image_but_for_an_edge(size, side, corner):
    found = tiles(Randomness(0, torch.tensor([3, 5])), torch.zeros(2, 3, *size))
    assert found.shape == (2, 3, *size)
    assert not torch.equal(found[0], found[1])
    (top, left), (rows, columns) = corner, (extent // side for extent in size)
    squares = found[:, :, top : top + rows * side, left : left + columns * side].reshape(
        2, 3, rows, side, columns, side
    )
    torch.testing.assert_close((squares**2).sum((3, 5)), torch.ones(2, 3, rows, columns))  # each a bump
    torch.testing.assert_close((found**2).sum(), torch.tensor(6.0 * rows * columns))  # and nothing beside them


# The search --------------------------------------------------------------------------------------------------------


def test_it_breaks_a_network_it_cannot_differentiate_within_the_budget(network, digits):
    def model(image):
        assert not torch.is_grad_enabled()
        assert not image.requires_grad
        return network(image)

    image, label, id = (part[:64] for part in digits)
    attack = Square(queries=600, objective=Margin())
    (found,) = attack(model, image, label, id, [0.2])
    assert attack.name == "Square-margin"
    difference = norm(found.double() - image.double())
    assert (difference <= 0.2 * norm(image.double()) * (1 + 1e-6)).all()
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
    realized = norm(found - image)
    assert (realized <= radius(image, 0.1) * (1 + 1e-5)).all()
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


def test_enough_takes_an_objective_without_targets():
    with pytest.raises(UserError, match=r"enough: 0\.0, which takes an objective without targets"):
        Square(objective=TargetedDLR(), enough=0.0)
