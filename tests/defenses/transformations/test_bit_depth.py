import numpy as np
import pytest
import torch

from lit_knn.defenses import BitDepth
from lit_knn.errors import UserError


def rounded(image, bits, quantizer="xu"):
    return BitDepth(bits=bits, quantizer=quantizer)(image, None)


def test_levels_of_brightness_by_hand():
    levels = torch.tensor([0.0, 0.2, 0.49, 0.51, 0.8, 1.0]).view(1, 1, 1, 6)
    assert rounded(levels, 1).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(rounded(levels, 2).flatten() * 3, torch.tensor([0.0, 1, 1, 2, 2, 3]))
    assert rounded(levels, 1, "guo").flatten().tolist() == [0, 0, 0.5, 0.5, 1, 1]
    torch.testing.assert_close(rounded(levels, 1, "athalye").flatten() * 255, torch.tensor([0.0, 0, 0, 128, 128, 128]))


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("quantizer", ["xu", "guo"])
def test_each_value_goes_to_the_nearest_level(quantizer, bits):
    image = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    image[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    steps = 2**bits - (quantizer == "xu")
    levels = np.arange(steps + 1) / steps
    nearest = levels[np.abs(image.numpy()[..., None] - levels).argmin(axis=-1)]
    found = rounded(image, bits, quantizer)
    torch.testing.assert_close(found, torch.from_numpy(nearest), rtol=0, atol=1e-12)
    assert torch.equal(rounded(found, bits, quantizer), found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", range(1, 9))
def test_the_first_bits_of_each_byte_are_kept(bits, dtype):
    stored = np.arange(256, dtype=np.uint8)
    shifted = (stored >> (8 - bits)) << (8 - bits)
    found = rounded(torch.from_numpy(stored).view(1, 1, 16, 16).to(dtype) / 255, bits, "athalye")
    torch.testing.assert_close(found.flatten() * 255, torch.from_numpy(shifted).to(dtype), rtol=0, atol=1e-4)


def test_eight_bits_leave_a_stored_image_alone():
    image = torch.arange(256).view(1, 1, 16, 16).float() / 255
    for quantizer in ("xu", "athalye"):
        torch.testing.assert_close(rounded(image, 8, quantizer), image, rtol=0, atol=1e-7)


@pytest.mark.parametrize("quantizer", ["xu", "guo", "athalye"])
@pytest.mark.parametrize("bits", [1, 3])
def test_attackers_climb_smooth_stairs_that_are_steep_at_the_edges(bits, quantizer):
    transformation = BitDepth(bits=bits, quantizer=quantizer)
    image = torch.linspace(0, 1, 4001, dtype=torch.float64).view(1, 1, 1, -1).requires_grad_()
    rounded, near = transformation(image, None), transformation.near(image)
    (slope,) = torch.autograd.grad(near.sum(), image)
    rise = (rounded.diff() > 0).nonzero()[:, 3]
    assert len(rise) == 2**bits - (quantizer != "guo")
    assert (slope.flatten()[rise] > 1.5).all()
    assert slope.min() < 0.3
    assert slope.min() > 0
    away = (near - rounded).abs().flatten()
    assert away.max() <= 0.53 * rounded.diff().max()  # at an edge
    assert away.mean() < 0.2 * rounded.diff().max()
    assert torch.trapezoid(slope.flatten(), image.flatten()).item() == pytest.approx(1, abs=0.3)


def test_tables_tell_the_quantizers_apart():
    assert [BitDepth(bits=3, quantizer=name).name for name in ("xu", "guo")] == ["3-bit", "3-bit guo"]


@pytest.mark.parametrize("wrong", [{"bits": 0}, {"bits": 9}, {"quantizer": "shift"}])
def test_other_depths_and_quantizers_are_refused(wrong):
    with pytest.raises(UserError, match="bits from 1 to 8 are accepted, and xu, guo, athalye"):
        BitDepth(**wrong)
