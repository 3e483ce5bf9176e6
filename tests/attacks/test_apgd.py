"""Auto-PGD against torchattacks' implementation, step for step, and on hills whose top is known."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from lit_knn.attacks import APGD, FGSM, PGD, RandomNoise, Square
from lit_knn.attacks.apgd import checkpoints
from lit_knn.attacks.objectives import Margin, Objective
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.budget import RELATIVE_L2
from lit_knn.threat_models.norms import L2


def losses(network, image, label):
    return F.cross_entropy(network(image), label, reduction="none")


def in_double(network, digits, number):
    image, label, id = (part[:number] for part in digits)
    return deepcopy(network).double(), (image.double(), label, id)


def test_checkpoints_by_hand():
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(50)) == [11, 21, 30, 38, 45]  # gaps of 11, 10, 9, 8, 7; one of 6 would pass the end
    assert sorted(checkpoints(10)) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == {1}


@pytest.mark.parametrize(("steps", "delta"), [(100, 0.1), (20, 0.2), (7, 0.05)])
def test_from_the_same_start_it_finds_what_torchattacks_finds(steps, delta, network, digits, monkeypatch):
    torchattacks = pytest.importorskip("torchattacks")
    network, (image, label, id) = in_double(network, digits, 16)
    (ours,) = APGD(steps=steps, random_start=True)(network, image, label, id, [delta])

    start, theirs = Randomness(0, id).normal(image), []
    for row in range(len(image)):  # it takes one radius for the whole batch
        attack = torchattacks.APGD(network, norm="L2", eps=float(RELATIVE_L2.radius(image, delta)[row]), steps=steps)
        part = slice(row, row + 1)
        monkeypatch.setattr(torch, "randn", lambda *_, part=part, **__: start[part])
        theirs.append(attack.perturb(image[part], label[part], best_loss=True)[1])
    # its radii are rounded to float32
    torch.testing.assert_close(ours, torch.cat(theirs), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("norm", "size"), [("L2", 0.5), ("Linf", 8 / 255)])
def test_in_the_units_of_others_it_finds_what_torchattacks_finds(norm, size, network, digits, monkeypatch):
    torchattacks = pytest.importorskip("torchattacks")
    network, (image, label, id) = in_double(network, digits, 16)
    (ours,) = APGD(steps=30, random_start=True)(network, image, label, id, [size], norm=norm.lower())

    uniform, normal = Randomness(0, id).uniform(image, 3, 8, 8), Randomness(0, id).normal(image)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: uniform)
    monkeypatch.setattr(torch, "randn", lambda *_, **__: normal)
    attack = torchattacks.APGD(network, norm=norm, eps=size, steps=30)
    torch.testing.assert_close(ours, attack.attack_single_run(image, label)[0], rtol=0, atol=1e-6)
    assert (network(ours).argmax(1) != label).any()


def test_in_linf_a_stronger_attack_leaves_less(network, digits):
    left = [
        int((network(next(attack(network, *digits, [24 / 255], norm="linf"))).argmax(1) == digits[1]).sum())
        for attack in (RandomNoise(), Square(queries=150, objective=Margin()), FGSM(), PGD(), APGD())
    ]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == len(left)


@pytest.mark.parametrize(("random_start", "factor"), [(True, 1.03), (False, 1.005)])
def test_it_is_stronger_than_pgd_of_as_many_steps(random_start, factor, network, digits):
    both = APGD(random_start=random_start), PGD(steps=100, random_start=random_start)
    for delta in (0.05, 0.1, 0.2):
        auto, plain = (next(attack(network, *digits, [delta])) for attack in both)
        assert losses(network, auto, digits[1]).mean() > factor * losses(network, plain, digits[1]).mean()
        assert (network(auto).argmax(1) == digits[1]).sum() <= (network(plain).argmax(1) == digits[1]).sum()


class Hill(Objective):
    """A hill about a point inside the ball, whose top has to be found."""

    def bind(self, attack_target, target=0):
        return lambda image: -(self.distance(image, attack_target.image) ** 2)

    def distance(self, image, center):
        """In radii of Δ = 0.2."""
        size = RELATIVE_L2.radius(center, 0.2)
        return L2.length(image - center - 0.3 * size.view(-1, 1, 1, 1) / center[0].numel() ** 0.5) / size


def test_steps_shorten_until_the_top_is_reached(network, digits):
    image, hill = 0.25 + digits[0] / 2, Hill()
    auto, plain = (
        hill.distance(next(attack(network, image, *digits[1:], [0.2])), image)
        for attack in (APGD(random_start=True, objective=hill), PGD(steps=100, random_start=True, objective=hill))
    )
    assert auto.max() < 0.2 * 0.025 < plain.mean()  # the constant step of PGD is 0.025 radii
    assert auto.mean() < plain.mean() / 4


class Moving(Objective):
    """Another value each time, as if other neighbors had been retrieved; it remembers all of them."""

    def bind(self, attack_target, target=0):
        random = torch.Generator().manual_seed(0)
        self.images, self.values = [], []

        def score(image):
            value = attack_target.cross_entropy(image) + 3 * torch.rand(len(image), generator=random)
            self.images.append(image.detach())
            self.values.append(value.detach())
            return value

        return score


def test_the_best_iterate_of_each_image_is_returned_and_steps_are_gradients(network, digits):
    objective = Moving()
    (found,) = APGD(steps=30, objective=objective)(network, *digits, [0.1])
    assert len(objective.values) == 31
    best = torch.stack(objective.values).argmax(0)
    assert len(best.unique()) > 5
    expected = torch.stack(objective.images)[best, torch.arange(len(best))]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (RELATIVE_L2.realized(digits[0], objective.images[0]) <= 0.1 + 1e-6).all()


def test_batches_of_one_and_of_all_give_the_same(network, digits):
    network, (image, label, id) = in_double(network, digits, 12)
    (together,) = APGD(steps=30)(network, image, label, id, [0.06])
    apart = [
        next(APGD(steps=30)(network, image[i : i + 1], label[i : i + 1], id[i : i + 1], [0.06])) for i in range(12)
    ]
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=1e-11)


def test_a_random_start_is_on_the_sphere_and_the_budget_is_kept(network, digits):
    image, seen = torch.full_like(digits[0], 0.5), []

    def model(x):
        seen.append(x.detach())
        return network(x)

    list(APGD(steps=5, random_start=True)(model, image, *digits[1:], [0.1]))
    torch.testing.assert_close(RELATIVE_L2.realized(image, seen[0]), torch.full((len(image),), 0.1))
    assert torch.stack([RELATIVE_L2.realized(image, x) for x in seen]).max() <= 0.1 * (1 + 1e-5)
    (found,) = APGD(steps=20)(network, *digits, [0.3])
    difference = (found.double() - digits[0].double()).flatten(1).norm(dim=1)
    assert (difference <= 0.3 * digits[0].double().flatten(1).norm(dim=1) * (1 + 1e-6)).all()


def test_more_restarts_are_never_weaker_and_any_objective_goes(network, digits):
    one, three = (next(APGD(steps=10, restarts=n)(network, *digits, [0.1])) for n in (1, 3))
    assert (losses(network, three, digits[1]) >= losses(network, one, digits[1]) - 1e-6).all()
    attack = APGD(objective=Margin())
    assert attack.name == "APGD-margin"
    (found,) = attack(network, *digits, [0.2])
    assert (network(found).argmax(1) != digits[1]).all()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rho": 0.0}, {"rho": 1.5}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=r"steps from 1 and rho in \(0, 1\]"):
        APGD(**wrong)
