import pytest
import torch

from lit_knn.defenses import TotalVariation
from lit_knn.defenses.transformations.primal_dual import minimize, objective
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

IDS = torch.arange(6)


def drawn(seed=0):
    return Randomness(seed, IDS)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("isotropic", [True, False])
def test_it_solves_the_problem_with_values_dropped_by_the_images_random_numbers(per_channel, isotropic):
    image = torch.rand(6, 3, 12, 10, dtype=torch.float64)
    transformation = TotalVariation(weight=0.05, keep=0.7, per_channel=per_channel, isotropic=isotropic)
    mask = (drawn().uniform(image, 3 if per_channel else 1, 12, 10) < 0.7).to(image)
    assert mask.mean().item() == pytest.approx(0.7, abs=0.1)
    found = transformation(image, drawn())
    expected = minimize(image, mask, 0.05, isotropic=isotropic, tolerance=1 / 255, iterations=500)
    assert torch.equal(found, expected)


def test_a_larger_weight_is_smoother_and_dropped_values_are_filled_in():
    image = torch.rand(6, 1, 16, 16)
    variation = [
        objective(TotalVariation(weight=weight)(image, drawn()), image, torch.zeros(1), 1.0) for weight in (0.01, 0.1)
    ]
    assert (variation[1] < 0.7 * variation[0]).all()
    smooth = torch.linspace(0, 1, 16).expand(6, 3, 16, 16)
    assert (TotalVariation(weight=0.001)(smooth, drawn()) - smooth).abs().mean() < 0.02


def test_both_references_are_reached_by_arguments():
    image = torch.rand(6, 3, 9, 9)
    guo, athalye = TotalVariation(), TotalVariation(weight=0.015, per_channel=False, isotropic=False)
    assert (guo.weight, guo.random, athalye.name) == (0.03, True, "TV")
    assert not torch.allclose(guo(image, drawn()), athalye(image, drawn()), atol=0.01)


def test_with_all_values_kept_nothing_is_random():
    image = torch.rand(6, 3, 9, 9)
    transformation = TotalVariation(keep=1)
    assert not transformation.random
    expected = minimize(image, torch.ones(1), 0.03, tolerance=1 / 255, iterations=500)
    assert torch.equal(transformation(image, None), expected)


@pytest.mark.parametrize(
    "wrong", [{"weight": 0}, {"keep": 0}, {"keep": 1.5}, {"tolerance": 0}, {"iterations": 0}, {"weight": -1}]
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match="keep above 0 and at most 1, and iterations from 1 are accepted"):
        TotalVariation(**wrong)
