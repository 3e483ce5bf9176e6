"""The gradient of the solution against finite differences of solutions that SciPy finds of the smooth problem."""

import numpy as np
import pytest
import torch
from scipy.optimize import root

from lit_knn.defenses import TotalVariation
from lit_knn.defenses.transformations.primal_dual import minimize
from lit_knn.defenses.transformations.smoothed import minimize_with_gradient, pull_back
from lit_knn.randomness import Randomness
from tests.defenses.transformations.test_primal_dual import kept, noisy, smoothed

LIMITS = {"tolerance": 1 / 255, "iterations": 500}


def solved(plane, known, weight, isotropic, width):
    """Return the solution of the smooth problem of one plane, where its derivative is zero."""
    derivative = smoothed(plane, known, weight, isotropic, width)
    found = root(lambda flat: derivative(flat)[1], np.full(plane.size, 0.5), tol=1e-13)
    assert np.abs(found.fun).max() < 1e-10
    return found.x.reshape(plane.shape)


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_it_is_the_derivative_of_the_smooth_problems_solution(share, isotropic):
    image, towards, change = (torch.rand(1, 2, 5, 6, dtype=torch.float64) for _ in range(3))
    mask, weight, width, step = kept(image, share), 0.05, 0.1, 1e-5

    def x(given):
        planes = zip(given[0].numpy(), mask[0].numpy(), strict=True)
        return torch.from_numpy(np.stack([solved(*plane, weight, isotropic, width) for plane in planes]))[None]

    expected = ((x(image + step * change) - x(image - step * change)) / (2 * step) * towards).sum()
    found = pull_back(towards, x(image), mask, weight, isotropic=isotropic, width=width, steps=60)
    assert (found * change).sum().item() == pytest.approx(expected.item(), rel=1e-6)
    assert (found[mask == 0] == 0).all()


def test_its_steps_suffice():
    image = noisy(4, (32, 32))
    mask, towards = kept(image), torch.randn(4, 3, 32, 32, dtype=torch.float64)
    x = minimize(image, mask, 0.03, **LIMITS)
    exact = pull_back(towards, x, mask, 0.03, steps=1000)
    error = (pull_back(towards, x, mask, 0.03) - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert error.max() < 0.005


def test_a_flat_part_moves_together_and_an_edge_keeps_its_sides_apart():
    image = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    image[..., 4:] = 1
    image.requires_grad_()
    x = minimize_with_gradient(image, image.new_ones(1), 0.05, isotropic=False, tolerance=1e-6, iterations=3000)
    (found,) = torch.autograd.grad(x[0, 0, 3, 2], image)
    assert found.sum().item() == pytest.approx(1, rel=1e-3)  # more light everywhere is as much more light
    assert found[..., :4].sum() > 0.99
    assert found[0, 0, 3, 2] < 0.25  # the identity's would be 1
    assert (found[..., :4] > 0.005).all()


def test_images_are_solved_alike_with_a_gradient_and_without_and_in_any_batch():
    image, ids = noisy(5, (9, 12), torch.float32), torch.arange(5)
    transformation, towards = TotalVariation(), torch.randn(5, 3, 9, 12)

    def answered(rows):
        part = image[rows].requires_grad_()
        seen = transformation(part, Randomness(0, ids[rows]))
        return seen.detach(), torch.autograd.grad(seen, part, towards[rows])[0]

    seen, whole = answered(slice(0, 5))
    assert torch.equal(seen, transformation(image, Randomness(0, ids)))
    for rows in (slice(0, 1), [4, 2]):
        for part, same in zip(answered(rows), (seen, whole), strict=True):
            assert torch.equal(part, same[rows])


def test_where_nothing_is_known_there_is_no_gradient_and_next_to_it_there_is():
    image = noisy(1, (8, 8), torch.float32).requires_grad_()
    mask = torch.ones(1, 3, 8, 8)
    mask[:, 1], mask[:, 2, 0, 1:], mask[:, 2, 1:] = 0, 0, 0  # a channel without any value, and one with a single one
    x = minimize_with_gradient(image, mask, 0.03, **LIMITS)
    (found,) = torch.autograd.grad(x.sum(), image)
    assert found.isfinite().all()
    assert (found[:, 1] == 0).all()
    assert found[0, 2, 0, 0].item() == pytest.approx(64, rel=0.05)  # which all others follow
    assert found[:, 0].sum().item() == pytest.approx(64, rel=0.05)


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_a_gradient_of_any_size_comes_back_in_proportion(scale):
    """Squares of such numbers are 0 or infinite in float32: a network that is sure must not look flat."""
    image, towards = noisy(2, (9, 12), torch.float32), torch.randn(2, 3, 9, 12)
    mask = kept(image, 0.5)
    x = minimize(image, mask, 0.03, **LIMITS)
    found = pull_back(scale * towards, x, mask, 0.03)
    assert torch.equal(found, scale * pull_back(towards, x, mask, 0.03))
    assert found.abs().amax() > 0
