import pytest
import torch
from torchvision.models import get_model

from lit_knn.backbones.listing import layers
from lit_knn.backbones.tapping import Tapping
from lit_knn.backbones.taps import Tap
from lit_knn.errors import UserError
from tests.backbones import own_networks as own

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def build(kind, **arguments):
    torch.manual_seed(0)
    return kind(**arguments).eval().requires_grad_(False)


def lengths(network, found, image=IMAGE, output=None):
    """The length that each of the names gives, tapped by itself."""
    result = {}
    for layer in found:
        taps = [Tap(layer.name)]
        tapping = Tapping(network, output)
        tapping.examine(image, taps)
        result[layer.name] = tapping.tapped(image, taps)[1][layer.name].shape[1]
    return result


@pytest.mark.parametrize(
    ("kind", "output", "traced"),
    [
        (own.Small, None, True),
        (own.Twice, None, True),
        (own.Encoder, None, True),
        (own.TupleInside, None, True),
        (own.Pair, 0, True),
        (own.ValueFlow, None, False),
        (own.Isinstance, None, False),
        (own.Noise, None, False),
    ],
)
def test_every_name_works_and_has_the_length_it_says(kind, output, traced):
    network = build(kind)
    found, objection = layers(network, IMAGE, output)
    assert (objection == "") == traced
    assert found
    told = [layer for layer in found if layer.pooled is not None]
    assert lengths(network, told, output=output) == {layer.name: layer.pooled for layer in told}
    assert {layer.name for layer in found} - {layer.name for layer in told} <= {"flatten"}  # (N, D, T)
    names = {layer.name for layer in found}
    assert {name for name in ("conv", "fc") if hasattr(network, name)} <= names
    assert "pair" not in names  # gives a tuple
    assert traced == bool(names - dict(network.named_modules()).keys())  # a graph has nodes between modules
    assert not any(module._forward_hooks for module in network.modules())
    if kind is own.Twice:
        assert "conv_1" in names
    if kind is own.Encoder:
        assert {layer.name: layer.traced for layer in found}["encoder.layers.0"] is False


def test_maps_that_need_to_be_told_where_their_channels_are():
    image = torch.randn(2, 3, 64, 64)
    found, _ = layers(get_model("swin_t", weights=None).eval(), image)
    doubtful = {layer.name: layer.shape for layer in found if layer.pooled is None}
    assert doubtful["features.1"] == (16, 16, 96)
    assert {layer.name: (layer.shape, layer.pooled) for layer in found}["head"] == ((1000,), 1000)


def test_a_network_without_logits_has_no_list():
    with pytest.raises(UserError, match="a tuple with 0"):
        layers(build(own.Pair), IMAGE)
