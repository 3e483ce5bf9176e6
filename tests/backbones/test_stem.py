import copy

import pytest
import torch
from torch import nn

from lit_knn.backbones.folding import folded
from lit_knn.backbones.stem import convolve, is_stem

SHAPES = [
    *((224, 224, 7, 2, 3), (33, 30, 7, 2, 3), (32, 32, 16, 16, 0), (29, 31, 11, 4, 2), (17, 18, 3, 2, 1)),
    *((15, 9, 2, 3, 0), (14, 15, 5, 3, 4), (21, 22, 4, 4, 0), (8, 9, (5, 3), 2, (4, 0))),
]


def stem(kernel=7, stride=2, padding=3, channels=3, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Conv2d(channels, 5, kernel, stride=stride, padding=padding, dtype=torch.float64, **options)
    return layer.requires_grad_(False)


def images(*size, channels=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, *size, dtype=dtype, generator=generator, requires_grad=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width", "kernel", "stride", "padding"), SHAPES)
def test_values_are_pytorchs_and_gradients_equal(height, width, kernel, stride, padding, channels):
    layer, image = stem(kernel, stride, padding, channels), images(height, width, channels=channels)
    found, expected = convolve(layer, image), layer(image)
    assert torch.equal(found, expected)
    assert "_Convolution" in found.grad_fn.name()
    above = torch.randn(found.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    slopes = [torch.autograd.grad(value, image, above)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def test_a_folded_network_begins_with_it_and_the_network_itself_is_left_alone():
    network = nn.Sequential(stem(), nn.BatchNorm2d(5, dtype=torch.float64)).eval().requires_grad_(False)
    fast, image = folded(network, {"0": "1"}), images(9, 9)
    assert "_Convolution" in fast(image).grad_fn.name()
    assert "_Convolution" in copy.deepcopy(fast)(image).grad_fn.name()
    assert "BatchNorm" in network(image).grad_fn.name()
    assert "forward" not in vars(network[0])


def test_a_gradient_has_a_gradient():
    layer, image = stem(3, 2, 1), images(4, 5)
    assert torch.autograd.gradgradcheck(lambda image: convolve(layer, image).square(), (image,))


def test_pytorchs_gradient_where_weights_have_one_and_where_others_convert():
    layer, image = stem().float(), images(9, 9, dtype=torch.float32)
    assert "_Convolution" in convolve(layer, image).grad_fn.name()
    with torch.autocast("cpu", torch.bfloat16):
        low = convolve(layer, image)
        assert low.dtype == torch.bfloat16
        assert "_Convolution" not in low.grad_fn.name()
    assert convolve(layer, image.detach()).grad_fn is None
    layer.bias.requires_grad_()
    convolve(layer, image).sum().backward()
    assert (layer.bias.grad == 2 * 25).all()


def test_which_layers_are_stems():
    class Own(nn.Conv2d):
        pass

    assert is_stem(stem())
    assert is_stem(stem(16, 16, 0, channels=1))
    others = [
        *(
            stem(3, 2, 1),
            stem(stride=1),
            stem(channels=5),
            stem(stride=(2, 1)),
            stem(dilation=2),
            stem(stride=2, padding_mode="reflect"),
        ),
        *(stem(groups=5, channels=5), stem(1, 1, "same"), stem(2, 2, "valid"), Own(3, 4, 2, stride=2), nn.Linear(3, 2)),
    ]
    assert not any(map(is_stem, others))
