"""The search against known optima, against other attacks, and against itself in other batches."""

from copy import deepcopy

import pytest
import torch

from lit_knn.attacks import CWL2, FMN
from lit_knn.attacks.objectives import CrossEntropy, Margin, TargetedDLR, margin
from lit_knn.errors import UserError
from lit_knn.threat_models.budget import RELATIVE_L2
from lit_knn.threat_models.norms import L2

DELTAS = [0.02, 0.05, 0.08, 0.1, 0.12, 1.0]


@pytest.fixture
def some(digits):
    return [part[:16] for part in digits]


def lengths(attack, network, some):
    """Return L2 norms of what an attack finds, all of which has to succeed."""
    (adversarial,) = attack(network, *some, [1.0])
    assert (network(adversarial).argmax(1) != some[1]).all()
    return L2.length(adversarial - some[0])


def test_the_nearest_point_beyond_a_plane(plane):
    """For a linear network the smallest perturbation is the distance to the nearest boundary."""
    model, image, label, distance = plane
    ratio = lengths(FMN(), model, (image, label, torch.arange(6))) / distance
    assert ratio.min() >= 1 - 1e-12
    assert ratio.max() < 1.005


def test_smaller_than_carlini_and_wagner_find_in_twice_as_many_passes(network, some):
    carlini_wagner = CWL2(steps=40, binary_search_steps=5, step_size=0.05, initial_constant=0.01)
    assert lengths(FMN(), network, some).median() < lengths(carlini_wagner, network, some).median()


def test_more_steps_find_smaller_ones(network, some):
    few, many = (lengths(FMN(steps=steps), network, some) for steps in (15, 200))
    assert (many < few).all()


def test_confidence_is_a_margin_and_costs_norm(network, some):
    plain, sure = (next(FMN(confidence=kappa)(network, *some, [1.0])) for kappa in (0, 3))
    assert (margin(network(sure), some[1]) > 3 - 1e-4).all()
    assert (L2.length(sure - some[0]) > L2.length(plain - some[0])).all()


def test_one_search_gives_the_whole_curve(network, some):
    network, image, label = deepcopy(network).double(), some[0].double(), some[1]
    calls = []

    def model(image):
        calls.append(image)
        return network(image)

    *below, whole = FMN(steps=60)(model, image, *some[1:], DELTAS)
    assert len(calls) == 60
    needed = RELATIVE_L2.realized(image, whole)
    right = [network(adversarial).argmax(1) == label for adversarial in below]
    assert 0 < right[-1].sum() < right[0].sum()
    for delta, adversarial, still in zip(DELTAS, below, right, strict=False):
        unchanged = needed <= delta
        assert not still[unchanged].any()
        assert still[needed > 1.02 * delta].all()  # between the two, what was found was not quite the smallest
        torch.testing.assert_close(adversarial[unchanged], whole[unchanged], rtol=0, atol=1e-12)
        torch.testing.assert_close(RELATIVE_L2.realized(image, adversarial), needed.clamp_max(delta), rtol=1e-9, atol=0)


def test_an_image_that_is_wrong_already_is_left_as_it_is(network, some):
    some[1][:5] = (some[1][:5] + 1) % 10
    (adversarial,) = FMN(steps=20)(network, *some, [0.2])
    changed = (adversarial != some[0]).flatten(1).any(1)
    assert changed.tolist() == [False] * 5 + [True] * 11


def test_batches_of_one_and_of_all_give_the_same(network, some):
    network, some = deepcopy(network).double(), (some[0].double(), *some[1:])
    (together,) = FMN()(network, *some, [0.1])
    apart = [next(FMN()(network, *(part[row : row + 1] for part in some), [0.1])) for row in range(8)]
    torch.testing.assert_close(together[:8], torch.cat(apart), rtol=0, atol=1e-9)


def test_where_nothing_is_enough_the_margin_still_rises(network, some):
    attack = FMN(steps=20, confidence=1e6)
    for delta in (0.05, 1.0):
        (adversarial,) = attack(network, *some, [delta])
        before, after = (margin(network(image), some[1]) for image in (some[0], adversarial))
        assert (after > before).all()


def test_a_margin_of_no_size_and_no_slope_stays_where_it_is(some):
    weight = torch.zeros(192, 10)
    (adversarial,) = FMN(steps=5)(lambda image: image.flatten(1) @ weight, *some, [0.1])
    assert torch.equal(adversarial, some[0])


def test_each_target_is_searched_for_and_the_networks_margin_chooses(network, some):
    (found,) = FMN(steps=40, objective=TargetedDLR(targets=2))(network, *some, [1.0])
    (one,) = FMN(steps=40, objective=TargetedDLR(targets=1))(network, *some, [1.0])
    assert (margin(network(found), some[1]) >= margin(network(one), some[1])).all()


def test_names_say_what_is_not_the_default():
    assert FMN().name == "FMN"
    assert FMN(objective=Margin()).name == "FMN-margin"
    with pytest.raises(UserError, match="FMN needs an objective that is above 0"):
        FMN(objective=CrossEntropy())


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"step_size": 0.0}, {"gamma": 1.0}, {"gamma": float("nan")}, {"confidence": -1.0}]
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        FMN(**wrong)
