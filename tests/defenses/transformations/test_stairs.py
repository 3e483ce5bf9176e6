import math

import torch

from lit_knn.defenses.transformations.stairs import WIDTH, smooth_floor


def test_it_is_the_floor_blurred_by_a_gaussian():
    values = torch.linspace(-2.4, 2.4, 97, dtype=torch.float64)
    noise = torch.linspace(-6 * WIDTH, 6 * WIDTH, 20001, dtype=torch.float64)
    density = torch.exp(-0.5 * (noise / WIDTH) ** 2)
    blurred = ((values[:, None] + noise).floor() * density).sum(dim=1) / density.sum()
    torch.testing.assert_close(smooth_floor(values), blurred, rtol=0, atol=0.024)  # the next edge's share, between two


def test_its_slope_is_that_of_the_density_and_nowhere_zero():
    values = torch.linspace(-3, 3, 601, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(smooth_floor(values).sum(), values)
    away = values.detach() - values.detach().round()
    expected = torch.exp(-0.5 * (away / WIDTH) ** 2) / (WIDTH * math.sqrt(2 * math.pi))
    torch.testing.assert_close(slope, expected)
    assert slope.min() > 0.2
