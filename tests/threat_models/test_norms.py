"""The geometry of both norms against numpy, in float64."""

import numpy as np
import pytest
import torch

from lit_knn.randomness import Randomness
from lit_knn.threat_models.norms import L2, LINF

each_norm = pytest.mark.parametrize("norm", [L2, LINF], ids=["l2", "linf"])
ORDER = {L2: (2, 2), LINF: (np.inf, 1)}  # of the norm, and of the dual one


def noise(*shape, **options):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), **options)


@each_norm
def test_lengths_are_numpys_and_the_dual_is_how_far_a_step_rises(norm):
    change = noise(9, 3, 5, 4, dtype=torch.float64)
    length, dual = ([np.linalg.norm(one.flatten(), order) for one in change] for order in ORDER[norm])
    np.testing.assert_allclose(norm.length(change), length)
    np.testing.assert_allclose(norm.dual(change), dual)
    rise = (norm.direction(change) * change).sum((1, 2, 3))  # of a linear function, at a step of length 1
    np.testing.assert_allclose(rise, dual)


@each_norm
@pytest.mark.parametrize("size", [1e-3, 8 / 255, 0.3, 3.0])
def test_projection_against_numpy_in_float64(size, norm):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(16, 3, 5, 7, generator=generator).round(decimals=1)  # has pixels at 0 and 1
    far = image + torch.randn(image.shape, generator=generator) * torch.logspace(-4, 1, 16).view(-1, 1, 1, 1)
    radius = size * torch.linspace(0.5, 1, 16)
    found = norm.project(far, image, radius).double().numpy()
    for one, adversarial, result, limit in zip(image.double(), far.double(), found, radius.tolist(), strict=True):
        center, change = one.numpy(), (adversarial - one).numpy()
        kept = np.clip(change, -limit, limit) if norm is LINF else change * min(1, limit / np.linalg.norm(change))
        np.testing.assert_allclose(result, np.clip(center + kept, 0, 1), atol=1e-6)
        realized = np.linalg.norm((result - center).flatten(), ORDER[norm][0])
        assert realized <= limit * (1 + 1e-6) + 2**-24  # half a digit of a pixel of 1
    assert found.min() >= 0
    assert found.max() <= 1


@each_norm
def test_projection_leaves_what_is_inside_and_survives_a_radius_of_zero(norm):
    image = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    near = image + 1e-3
    torch.testing.assert_close(norm.project(near, image, torch.ones(1)), near, rtol=0, atol=0)
    torch.testing.assert_close(norm.project(near, image, torch.zeros(1)), image, rtol=0, atol=0)
    torch.testing.assert_close(norm.project(image, image, torch.zeros(1)), image, rtol=0, atol=0)


@each_norm
def test_projection_changes_no_argument(norm):
    image, far, radius = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 4.0), torch.ones(1)
    norm.project(far, image, radius)
    assert (image == 0.5).all()
    assert (far == 4.0).all()
    assert (radius == 1.0).all()


@each_norm
def test_an_image_within_its_ball_stays_as_it_is_to_the_bit(norm):
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(16, 3, 8, 8, generator=generator)
    inside = (image + 0.01 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    radius = torch.full((16,), 5.0)
    assert torch.equal(norm.project(inside, image, radius), inside)
    mixed = norm.project(inside, image, radius * (torch.arange(16) % 2))
    assert torch.equal(mixed[1::2], inside[1::2])
    assert torch.equal(mixed[::2], image[::2])


def test_what_was_clamped_to_the_range_of_each_pixel_stays_there():
    image = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    radius = torch.full((16,), 8 / 255)
    once = LINF.project(image + noise(16, 3, 8, 8), image, radius)
    assert torch.equal(LINF.project(once, image, radius), once)
    assert (LINF.length(once - image) <= radius + 2**-24).all()


@each_norm
@pytest.mark.parametrize("step", ["l2", "sign"])
def test_directions_have_length_one_and_zero_stays_zero(step, norm):
    slope = noise(4, 3, 5, 5)
    slope[1] *= 1e-30  # its squares vanish in float32
    slope[2] = 0
    found = norm.direction(slope, step)
    torch.testing.assert_close(norm.length(found), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    followed = slope[3] if step == "l2" else slope[3].sign()
    cosine = torch.cosine_similarity(found[3].flatten(), followed.flatten(), dim=0)
    torch.testing.assert_close(cosine, torch.ones(()))
    assert torch.equal(norm.direction(slope), norm.direction(slope, norm.step))


@each_norm
def test_random_points_lie_on_the_surface_and_are_uniform_in_the_ball(norm):
    """In D dimensions, a share r^D of the ball lies within r; and no corner of it is preferred."""
    image = torch.zeros(2000, 3, 1, 1, dtype=torch.float64)
    surface = norm.surface(Randomness(0, torch.arange(2000)), image)
    torch.testing.assert_close(norm.length(surface), torch.ones(2000, dtype=torch.float64))
    distance, towards = norm.ball(Randomness(1, torch.arange(2000)), image)
    point = distance.view(-1, 1, 1, 1) * towards
    level, uniform = norm.length(point).pow(3).sort().values, torch.linspace(0, 1, 2000)
    allowed = 1.63 / 2000**0.5  # Kolmogorov–Smirnov, 1 %
    assert (level - uniform).abs().max() < allowed
    for points in (surface, point):
        corners = (points > 0).flatten(1).long() @ torch.tensor([1, 2, 4])
        share = corners.bincount(minlength=8) / 2000
        assert (share - 1 / 8).abs().max() < 4 * (1 / 8 * 7 / 8 / 2000) ** 0.5
    if norm is LINF:  # whose coordinates are uniform, each on its own
        level = (point.flatten(1).sort(dim=0).values + 1) / 2
        assert (level - uniform[:, None]).abs().max() < allowed
