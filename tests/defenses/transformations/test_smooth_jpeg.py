"""The steps of JPEG in PyTorch, held to Pillow's file."""

import pytest
import torch
import torch.nn.functional as F
from scipy.fft import dctn

from lit_knn.defenses import BPDA, JPEG
from lit_knn.defenses.transformations import smooth_jpeg as module
from lit_knn.defenses.transformations.smooth_jpeg import smooth_jpeg
from tests.defenses.transformations.test_jpeg import photographs


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (9, 17), (50, 23)])
@pytest.mark.parametrize("quality", [75, 20])
def test_with_rounding_instead_of_smooth_stairs_it_is_pillows(quality, size, channels, monkeypatch):
    monkeypatch.setattr(module, "smooth_floor", torch.floor)
    image = (photographs(4, size, channels) * 255).round() / 255
    jpeg = JPEG(quality=quality)
    seen, found = jpeg(image, None), jpeg.near(image).clamp(0, 1)
    assert found.shape == image.shape
    assert (found - seen).abs().mean() < 2 / 255  # integer arithmetic, and colors at the border, differ
    assert (found - seen).abs().mean() < 0.35 * (image - seen).abs().mean()


def test_what_attackers_take_is_nearer_to_the_file_than_the_image():
    image = photographs(4, (40, 40)).double()
    jpeg = JPEG(quality=40)
    seen = jpeg(image, None)
    assert (jpeg.near(image) - seen).abs().mean() < 0.7 * (image - seen).abs().mean()


def test_the_cosines_are_scipys():
    block = torch.rand(8, 8, dtype=torch.float64)
    cosines = module._cosines(block)
    expected = torch.from_numpy(dctn(block.numpy(), norm="ortho"))
    torch.testing.assert_close(cosines @ block @ cosines.T, expected)


@pytest.mark.parametrize("size", [(9, 10), (1, 1)])
def test_the_gradient_is_that_of_its_values_and_reaches_every_image(size, monkeypatch):
    image = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    tables = JPEG()._tables
    (gradient,) = torch.autograd.grad(BPDA(transformation=JPEG())(image, None).square().sum(), image)
    assert gradient.flatten(1).abs().amax(dim=1).gt(0).all()
    monkeypatch.setattr(module, "smooth_floor", torch.sin)  # without jumps
    assert torch.autograd.gradcheck(lambda image: smooth_jpeg(image, tables), image)


def test_colors_that_are_averaged_away_have_no_gradient():
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        BPDA(transformation=JPEG())(image, None), image, torch.randn(1, 3, 16, 16).double()
    )
    checks = (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16))
    color = torch.tensor([0.587, -0.299, 0.0]).view(3, 1, 1) * checks  # as bright as gray
    assert (gradient * color).sum().abs() < 1e-5 * gradient.abs().sum()


def test_the_tables_are_in_the_order_of_the_coefficients():
    brightness, color = JPEG(quality=50)._tables
    assert brightness[0].tolist() == [16, 11, 10, 16, 24, 40, 51, 61]  # T.81, Table K.1
    assert brightness[:, 0].tolist() == [16, 12, 14, 14, 18, 24, 49, 72]
    assert color[0, :4].tolist() == [17, 18, 24, 47]
    smooth = F.interpolate(torch.rand(1, 1, 2, 2), (8, 8), mode="bicubic").clamp(0, 1)
    assert (JPEG(quality=50).near(smooth) - smooth).abs().mean() < 0.05
