import pytest
import torch

from lit_knn.defenses import BitDepth
from lit_knn.errors import UserError


def rounded(image, bits):
    return BitDepth(bits=bits)(image, None)


def test_levels_of_brightness_by_hand():
    levels = torch.tensor([0.0, 0.2, 0.49, 0.51, 0.8, 1.0]).view(1, 1, 1, 6)
    assert rounded(levels, 1).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(rounded(levels, 2).flatten() * 3, torch.tensor([0.0, 1, 1, 2, 2, 3]))


@pytest.mark.parametrize("bits", range(1, 9))
def test_each_value_goes_to_the_nearest_of_2_to_the_bits(bits):
    image = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    found = rounded(image, bits)
    assert len(found.unique()) == 2**bits
    assert (found - image).abs().max() <= 0.5 / (2**bits - 1) + 1e-12
    assert torch.equal(rounded(found, bits), found)


def test_eight_bits_leave_a_stored_image_alone():
    image = torch.arange(256).view(1, 1, 16, 16).float() / 255
    torch.testing.assert_close(rounded(image, 8), image, rtol=0, atol=1e-7)


@pytest.mark.parametrize("bits", [0, 9])
def test_other_depths_are_refused(bits):
    with pytest.raises(UserError, match="1 to 8 are accepted"):
        BitDepth(bits=bits)
