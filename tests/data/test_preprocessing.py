import io

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from lit_knn.data import ImageError, Preprocessing, decode
from lit_knn.errors import UserError
from tests.data.conftest import encode, photo


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (256, 256), (301, 977), (90, 120), (1, 1)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_classic_imagenet_preprocessing(height: int, width: int, interpolation: str) -> None:
    data = encode(photo(height, height, width), "jpg")
    mode = transforms.InterpolationMode(interpolation)
    classic = transforms.Compose([transforms.Resize(256, mode), transforms.CenterCrop(224)])
    expected = np.asarray(classic(Image.open(io.BytesIO(data)))).astype(int)
    image = Preprocessing(resize=256, crop=224, interpolation=interpolation)(decode(data))  # type: ignore[arg-type]
    assert image.dtype == torch.uint8
    assert image.shape == (3, 224, 224)
    difference = np.abs(image.permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.01


def test_noise_agrees_with_pillow_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    expected = transforms.CenterCrop(64)(transforms.Resize(96)(Image.fromarray(pixels)))
    image = Preprocessing(resize=96, crop=64)(torch.from_numpy(pixels).permute(2, 0, 1))
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int)).max() <= 2


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_floats_are_not_rounded_and_stay_in_their_range(interpolation: str) -> None:
    """The same as for bytes, to their rounding; what Pillow makes of each channel in floats, but for the clipping."""
    pixels = np.random.default_rng(0).integers(0, 2, (3, 60, 80)).astype(np.float32)  # black and white overshoot most
    preprocessing = Preprocessing(resize=24, crop=20, interpolation=interpolation)  # type: ignore[arg-type]
    image = preprocessing(torch.from_numpy(pixels))
    mode = transforms.InterpolationMode(interpolation)
    classic = transforms.Compose([transforms.Resize(24, mode), transforms.CenterCrop(20)])
    expected = np.stack([np.asarray(classic(Image.fromarray(channel))) for channel in pixels])
    np.testing.assert_allclose(image, expected.clip(0, 1), atol=1e-5)
    rounded = preprocessing(torch.from_numpy((pixels * 255).astype(np.uint8))) / 255
    assert (image - rounded).abs().mean() < 1 / 255  # bytes saturate between their two passes as well
    assert (image.min() >= 0) & (image.max() <= 1)


def test_nothing_changes_nothing() -> None:
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    assert torch.equal(Preprocessing()(image), image)
    assert torch.equal(Preprocessing(crop=5)(image), image[:, :, 1:6])
    assert Preprocessing(resize=5)(image).shape == (3, 5, 7)


def test_images_that_do_not_fit() -> None:
    with pytest.raises(ImageError, match=r"smaller than preprocessing\.crop"):
        Preprocessing(crop=8)(torch.zeros(3, 5, 7, dtype=torch.uint8))
    with pytest.raises(ImageError, match="too narrow"):
        Preprocessing(resize=256, crop=224)(torch.zeros(3, 1, 50_000, dtype=torch.uint8))


@pytest.mark.parametrize(
    "arguments", [{"resize": 0}, {"crop": -1}, {"resize": 8, "crop": 9}, {"interpolation": "nearest"}]
)
def test_bad_settings(arguments: dict[str, int]) -> None:
    with pytest.raises(UserError, match="preprocessing"):
        Preprocessing(**arguments)


def test_identity_tells_settings_apart() -> None:
    settings = [Preprocessing(), Preprocessing(resize=9), Preprocessing(crop=9), Preprocessing(interpolation="bicubic")]
    assert len({setting.identity() for setting in settings}) == 4
