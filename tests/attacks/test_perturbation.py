import numpy as np
import pytest
import torch

from lit_knn.attacks.perturbation import norm, normalized_l2, project, radius


def test_norm_radius_and_normalized_l2_by_hand():
    image = torch.zeros(2, 3, 1, 2)
    image[0, 0, 0] = torch.tensor([0.3, 0.4])  # 3-4-5
    image[1] = 0.5  # six pixels: √(6/4)
    torch.testing.assert_close(norm(image), torch.tensor([0.5, 1.5**0.5]))
    torch.testing.assert_close(radius(image, 0.1), torch.tensor([0.05, 0.1 * 1.5**0.5]))
    torch.testing.assert_close(normalized_l2(image, image * 0.75), torch.tensor([0.25, 0.25]))


@pytest.mark.parametrize("delta", [1e-3, 0.02, 0.06, 0.3, 1.0])
def test_projection_against_numpy_in_float64(delta):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(16, 3, 5, 7, generator=generator).round(decimals=1)  # has pixels at 0 and 1
    far = image + torch.randn(image.shape, generator=generator) * torch.logspace(-4, 1, 16).view(-1, 1, 1, 1)
    found = project(far, image, radius(image, delta)).double().numpy()

    x, y = image.double().numpy(), far.double().numpy()
    for one, adversarial, result in zip(x, y, found, strict=True):
        limit, length = delta * np.linalg.norm(one), np.linalg.norm(adversarial - one)
        expected = np.clip(one + (adversarial - one) * min(1, limit / length), 0, 1)
        np.testing.assert_allclose(result, expected, atol=1e-6)
        assert np.linalg.norm(result - one) <= limit * (1 + 1e-6)
    assert found.min() >= 0
    assert found.max() <= 1


def test_projection_leaves_what_is_inside_and_survives_a_radius_of_zero():
    image = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64)
    near = image + 1e-3
    torch.testing.assert_close(project(near, image, radius(image, 0.5)), near, rtol=0, atol=0)
    torch.testing.assert_close(project(near, image, torch.zeros(1)), image, rtol=0, atol=0)
    torch.testing.assert_close(project(image, image, torch.zeros(1)), image, rtol=0, atol=0)


def test_projection_changes_neither_argument():
    image, far = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 3, 2, 2), 4.0)
    project(far, image, torch.ones(1))
    assert (image == 0.5).all()
    assert (far == 4.0).all()


def test_an_image_within_its_ball_stays_as_it_is_to_the_bit():
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(16, 3, 8, 8, generator=generator)
    inside = (image + 0.01 * torch.randn(image.shape, generator=generator)).clamp(0, 1)
    assert torch.equal(project(inside, image, radius(image, 0.5)), inside)
    mixed = project(inside, image, radius(image, 0.5) * (torch.arange(16) % 2))
    assert torch.equal(mixed[1::2], inside[1::2])
    assert torch.equal(mixed[::2], image[::2])
