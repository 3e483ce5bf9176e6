import io

import numpy as np
import pytest
import torch
from PIL import Image

from lit_knn.defenses import JPEG
from lit_knn.errors import UserError


def photographs(count, size, channels=3):
    """Smooth images with some noise: neither blocks of one color nor noise alone."""
    smooth = torch.nn.functional.interpolate(torch.rand(count, channels, 4, 5), size, mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape)).clamp(0, 1)


@pytest.mark.parametrize("size", [(32, 32), (45, 61), (1, 1), (7, 300)])
@pytest.mark.parametrize("quality", [75, 10])
def test_it_is_what_pillow_writes_to_a_file_and_reads(quality, size, tmp_path):
    image = photographs(3, size)
    found = JPEG(quality=quality)(image, None)
    for seen, pixels in zip(found, (image * 255).round().byte(), strict=True):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "x.jpg", quality=quality)
        read = np.array(Image.open(tmp_path / "x.jpg"))
        assert torch.equal((seen * 255).round().byte(), torch.from_numpy(read).permute(2, 0, 1))
    assert found.dtype == image.dtype
    assert torch.equal(found, (found * 255).round() / 255)


@pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")
def test_torchvision_has_the_same_codec():
    from torchvision.io import decode_jpeg, encode_jpeg

    image = photographs(1, (50, 70))
    peer = decode_jpeg(encode_jpeg((image[0] * 255).round().byte(), quality=75))
    assert torch.equal((JPEG()(image, None)[0] * 255).round().byte(), peer)


def test_colors_have_half_of_the_resolution():
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=75)
    assert Image.open(file).layer[0][1:3] == (2, 2)  # Pillow's default, on which the transformation relies


def test_worse_quality_is_further_away():
    image = photographs(4, (64, 64)).double()
    best, near, far = ((JPEG(quality=quality)(image, None) - image).square().mean() for quality in (95, 75, 10))
    assert 1e-6 < best < 0.8 * near < 0.64 * far


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_constant_and_gray_images_come_back(channels, value):
    image = torch.full((2, channels, 9, 17), value, dtype=torch.float64)
    assert (JPEG()(image, None) - image).abs().max() <= 1.01 / 255


def test_other_channels_and_qualities_are_refused():
    with pytest.raises(UserError, match="JPEG takes images of 1 or 3 channels, not of 4"):
        JPEG()(torch.rand(1, 4, 8, 8), None)
    with pytest.raises(UserError, match="quality: 96; 1 to 95 are accepted"):
        JPEG(quality=96)
