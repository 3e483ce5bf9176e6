import pytest
import torch
from torchvision.models import get_model

from lit_knn.backbones import Tap
from lit_knn.backbones.features.pooling import pool
from lit_knn.backbones.layout import channels_first
from lit_knn.backbones.tapping import Tapping
from lit_knn.errors import UserError

DOUBT = "set the tap's `channels` to first or last"
SIZES = [(224, 224), (224, 320), (320, 224), (64, 96), (150, 200), (33, 47)]


@pytest.mark.parametrize("image", SIZES)
@pytest.mark.parametrize("depth", [96, 128, 768])
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
@pytest.mark.parametrize("rounding", [lambda side, stride: side // stride, lambda side, stride: -(-side // stride)])
def test_maps_of_any_stride_are_told_by_the_size_of_the_image(image, depth, stride, rounding):
    height, width = (max(1, rounding(side, stride)) for side in image)
    if abs(depth - max(height, width)) < 3:
        return  # channels that look like a side
    first = torch.empty(2, depth, height, width)
    assert channels_first(first, None, image) is first
    last = first.movedim(1, -1)
    with pytest.raises(UserError, match=DOUBT):
        channels_first(last, None, image)
    assert channels_first(last, "last", image).shape == first.shape
    assert channels_first(last, "first", image) is last


@pytest.mark.parametrize("border", [0, 1, 2])
@pytest.mark.parametrize("image", [(8, 8), (9, 14), (28, 20), (64, 48)])
def test_convolutions_without_padding_keep_their_default(image, border):
    maps = torch.empty(1, 3, *(side - border for side in image))
    assert channels_first(maps, None, image) is maps


def test_as_many_channels_as_pixels_on_a_side():
    maps = torch.randn(2, 32, 32, 32)
    with pytest.raises(UserError, match=DOUBT):  # a Swin's first stage at 384 pixels, or a convolution
        channels_first(maps, None, (128, 128))
    convolved = maps.contiguous(memory_format=torch.channels_last)
    assert channels_first(convolved, None, (128, 128)) is convolved


@pytest.mark.parametrize(("image", "tokens"), [((224, 224), 196), ((224, 224), 197), ((224, 320), 281), ((32, 32), 65)])
def test_tokens(image, tokens):
    activation = torch.randn(2, tokens, 512)
    torch.testing.assert_close(pool(activation, 1, None, image), activation.mean(1))
    with pytest.raises(UserError, match=DOUBT):
        pool(activation.movedim(1, 2), 1, None, image)
    torch.testing.assert_close(pool(activation.movedim(1, 2), 1, "first", image), activation.mean(1))


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
def test_a_swin_and_a_resnet_of_images_that_are_not_square(size):
    image = torch.randn(2, 3, *size)
    swin, resnet = (get_model(name, weights=None).eval() for name in ("swin_t", "resnet18"))
    with pytest.raises(UserError, match=DOUBT):
        Tapping(swin).examine(image, [Tap("features.1")])
    taps = [Tap("features.1", channels="last")]
    tapping = Tapping(swin)
    tapping.examine(image, taps)
    with torch.no_grad():
        expected = swin.features[1](swin.features[0](image)).mean((1, 2))
        torch.testing.assert_close(tapping.tapped(image, taps)[1]["features.1"], expected)
    Tapping(resnet).examine(image, [Tap("layer1.0.add"), Tap("layer3"), Tap("layer4", pool="rmac")])
