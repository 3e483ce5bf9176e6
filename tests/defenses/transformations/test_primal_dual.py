"""The solver against scikit-image, against L-BFGS on a smoothed problem, and against its own dual."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from skimage.restoration import denoise_tv_chambolle

from lit_knn.defenses.transformations.primal_dual import dual, minimize, objective

EXACT = {"tolerance": 1e-4, "iterations": 3000}


def noisy(count, size, dtype=torch.float64):
    """Squares of one color on another, and noise."""
    image = 0.2 + 0.1 * torch.randn(count, 3, *size, dtype=dtype)
    image[:, 0, 2:9, 3:8] += 0.5
    image[:, 1, :, 6:] += 0.4
    return image.clamp(0, 1)


def kept(image, share=0.5):
    return (torch.rand(image.shape) < share).to(image)


def total_variation(x, isotropic):
    """Another way to write it: pixel by pixel."""
    total = 0.0
    for plane in x.reshape(-1, *x.shape[-2:]):
        for row in range(plane.shape[0]):
            for column in range(plane.shape[1]):
                down = plane[row + 1, column] - plane[row, column] if row + 1 < plane.shape[0] else 0.0
                right = plane[row, column + 1] - plane[row, column] if column + 1 < plane.shape[1] else 0.0
                total += np.hypot(down, right) if isotropic else abs(down) + abs(right)
    return total


@pytest.mark.parametrize("isotropic", [True, False])
def test_the_objective_by_hand(isotropic):
    x, image = torch.rand(2, 3, 5, 4, dtype=torch.float64), torch.rand(2, 3, 5, 4, dtype=torch.float64)
    mask = kept(image)
    found = objective(x, image, mask, 0.3, isotropic=isotropic)
    for value, a, b, m in zip(found, x.numpy(), image.numpy(), mask.numpy(), strict=True):
        assert value == pytest.approx(0.5 * (m * (a - b) ** 2).sum() + 0.3 * total_variation(a, isotropic))


@pytest.mark.parametrize("weight", [0.03, 0.2])
@pytest.mark.parametrize("size", [(17, 12), (1, 9), (6, 1)])
def test_with_all_values_it_is_chambolles_denoising_channel_by_channel(size, weight):
    image = noisy(1, size)
    found = minimize(image, torch.ones_like(image), weight, **EXACT)
    for seen, given in zip(found, image.numpy(), strict=True):
        peer = denoise_tv_chambolle(given, weight=weight, eps=1e-10, max_num_iter=3000, channel_axis=0)
        assert np.abs(seen.numpy() - peer).max() < 5e-3
        assert np.sqrt(np.mean((seen.numpy() - peer) ** 2)) < 1e-3


def smoothed(image, mask, weight, isotropic, width):
    """Return value and gradient of the objective of one plane, with |·| as the root of squares and width²."""

    def value(flat):
        x = flat.reshape(image.shape)
        down, right = np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])
        if isotropic:
            length = np.sqrt(down**2 + right**2 + width**2)
            slopes = down / length, right / length
            total = length.sum()
        else:
            lengths = np.sqrt(down**2 + width**2), np.sqrt(right**2 + width**2)
            slopes = down / lengths[0], right / lengths[1]
            total = lengths[0].sum() + lengths[1].sum()
        force = np.zeros_like(x)
        force -= slopes[0] + slopes[1]
        force[1:] += slopes[0][:-1]
        force[:, 1:] += slopes[1][:, :-1]
        away = mask * (x - image)
        return 0.5 * (away * (x - image)).sum() + weight * total, (away + weight * force).ravel()

    return value


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.15])
def test_with_a_mask_it_is_what_lbfgs_finds_of_the_smoothed_problem(share, isotropic):
    image = noisy(1, (11, 9))
    mask, weight = kept(image, share), 0.05
    found = minimize(image, mask, weight, isotropic=isotropic, **EXACT)
    for plane, given, known in zip(found[0].numpy(), image[0].numpy(), mask[0].numpy(), strict=True):
        x = np.full(given.shape, 0.5).ravel()
        for width in (1e-2, 1e-3, 1e-4):
            smooth = smoothed(given, known, weight, isotropic, width)
            peer = scipy_minimize(smooth, x, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "maxfun": 4000})
            x = peer.x
        ours, theirs = (smoothed(given, known, weight, isotropic, 1e-12)(x.ravel())[0] for x in (plane, peer.x))
        assert ours <= theirs + 1e-5
        assert theirs <= ours * (1 + 1e-2)
        assert np.abs(known * (plane - peer.x.reshape(given.shape))).max() < 0.02


def test_the_dual_is_never_above_the_objective_and_meets_it_at_the_solution():
    image = noisy(3, (8, 9))
    mask, weight = kept(image), 0.05
    best = objective(minimize(image, mask, weight, **EXACT), image, mask, weight)
    for length in (0.1, 1.0):
        p = torch.randn(3, 2, 3, 8, 9, dtype=torch.float64)
        p *= length * weight / p.square().sum(dim=1, keepdim=True).sqrt().clamp(min=length)
        p[:, 0, :, -1], p[:, 1, ..., -1] = 0, 0
        assert (dual(p, image, mask) < best).all()
        x = torch.rand(3, 3, 8, 9, dtype=torch.float64)
        assert (objective(x, image, mask, weight) > best).all()


@pytest.mark.parametrize("tolerance", [0.02, 1 / 255])
def test_known_values_are_as_near_to_the_solution_as_promised(tolerance):
    image = noisy(3, (20, 16))
    mask = kept(image)
    solution = minimize(image, mask, 0.03, **EXACT)
    found = minimize(image, mask, 0.03, tolerance=tolerance, iterations=1000)
    away = (mask * (found - solution)).square().flatten(1).mean(dim=1).sqrt()
    assert away.max() <= tolerance
    assert away.min() > 2e-5  # it did stop


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(8, 8), (33, 47), (224, 100)])
def test_an_image_is_solved_alike_in_any_batch_to_the_bit(size, dtype):
    image = noisy(9, size, dtype)
    image[3] = 0.5  # stops at the first look, and leaves the others alone
    mask = kept(image)
    together = minimize(image, mask, 0.03, tolerance=0.01, iterations=60)
    for rows in (slice(0, 1), slice(2, 6), [8, 3]):
        assert torch.equal(minimize(image[rows], mask[rows], 0.03, tolerance=0.01, iterations=60), together[rows])


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_images_come_back_whatever_is_known_of_them(value):
    image = torch.full((2, 1, 7, 9), value)
    for mask in (kept(image, 0.3), torch.ones(1)):
        torch.testing.assert_close(
            minimize(image, mask, 0.03, tolerance=1 / 255, iterations=200), image, rtol=0, atol=1e-3
        )


def test_unknown_values_do_not_matter_and_an_image_of_which_nothing_is_known_is_gray():
    image = noisy(2, (9, 9))
    mask = kept(image)
    mask[1] = 0
    found = minimize(image, mask, 0.03, tolerance=1e-3, iterations=500)
    other = torch.where(mask > 0, image, torch.rand_like(image))
    assert torch.equal(minimize(other, mask, 0.03, tolerance=1e-3, iterations=500), found)
    assert (found[1] == 0.5).all()


def test_without_much_known_it_stays_in_range_and_ends():
    image = (torch.rand(2, 3, 12, 12) > 0.5).float()
    found = minimize(image, kept(image, 0.02), 0.001, tolerance=1e-9, iterations=35)
    assert found.isfinite().all()
    assert 0 <= found.min() <= found.max() <= 1
