import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations
from torchvision.ops import Conv2dNormActivation

from lit_knn.backbones.digits import digits_resnet
from lit_knn.backbones.folding import foldable, folded
from lit_knn.backbones.tracing import Trace
from tests.backbones import own_networks as own


def trained(network):
    """Give each BatchNorm moments and weights that differ by channel, and freeze."""
    generator = torch.Generator().manual_seed(0)
    for norm in network.modules():
        if isinstance(norm, nn.modules.batchnorm._NormBase):
            for value, low in ((norm.running_mean, -2), (norm.running_var, 0.01), (norm.weight, -1), (norm.bias, -1)):
                if value is not None:
                    value.data.uniform_(low, 2, generator=generator)
    return network.eval().requires_grad_(False)


def pairs(network, kept=()):
    return foldable(network, Trace(network), kept)


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv1d(4, 6, 3, bias=False), nn.BatchNorm1d(6), (2, 4, 9)),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), (2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3, padding="same", dilation=2, groups=2), nn.BatchNorm2d(6, affine=False), (2, 4, 9, 8)),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(6, eps=0.1), (2, 4, 9, 8)),
        (nn.Conv2d(4, 4, 3, padding=2, padding_mode="circular", groups=4), nn.BatchNorm2d(4), (2, 4, 9, 8)),
        (nn.Conv2d(3, 6, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(6), (2, 3, 9, 8)),  # as a ResNet begins
        (nn.Conv3d(4, 6, 2), nn.BatchNorm3d(6), (2, 4, 5, 4, 3)),
        (nn.ConvTranspose1d(4, 6, 3, stride=2), nn.BatchNorm1d(6), (2, 4, 9)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, groups=2), nn.BatchNorm2d(6), (2, 4, 5, 6)),
        (nn.ConvTranspose3d(4, 8, 2, groups=4, bias=False), nn.BatchNorm3d(8), (2, 4, 3, 4, 3)),
        (nn.Linear(5, 7), nn.BatchNorm1d(7), (4, 5)),
        (nn.Linear(5, 7, bias=False), nn.BatchNorm1d(7, affine=False), (4, 5)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_the_network_with_its_gradients(layer, norm, shape, dtype):
    """The reference is the network in float64."""
    network = trained(copy.deepcopy(nn.Sequential(layer, norm, nn.ReLU(inplace=True))).to(dtype))
    assert pairs(network) == {"0": "1"}
    fast = folded(network, {"0": "1"})
    image = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found, expected = image.to(dtype).requires_grad_(), image.clone().requires_grad_()
    given, wanted = fast(found), network.double()(expected)
    close = {"rtol": 0, "atol": float(100 * torch.finfo(dtype).eps * wanted.detach().abs().max())}
    torch.testing.assert_close(given.double(), wanted, **close)
    weight = torch.rand_like(wanted)
    gradients = [
        torch.autograd.grad((one * weight).sum(), at)[0].double() for one, at in ((given, found), (wanted, expected))
    ]
    torch.testing.assert_close(*gradients, **close)


class Added(own.Small):
    def forward(self, x):
        conv = self.conv(x)
        return self.fc((self.norm(conv) + conv).mean((2, 3)))


class ChangedInPlace(own.Small):
    def forward(self, x):
        conv = self.conv(x)
        conv.add_(1)
        return self.fc(self.norm(conv).mean((2, 3)))


class Both(own.Small):
    """Normalizes another convolution by the same BatchNorm, or not."""

    def __init__(self, again=True):
        super().__init__()
        self.other, self.again = nn.Conv2d(3, 4, 3), again

    def forward(self, x):
        other = self.other(x)
        return self.fc((self.norm(self.conv(x)) + (self.norm(other) if self.again else self.conv(x))).mean((2, 3)))


class ByName(own.Small):
    def forward(self, x):
        return self.fc((self.norm(self.conv(x)) * self.conv.weight.sum()).mean((2, 3)))


class NormTwice(own.Small):
    def forward(self, x):
        return self.fc(self.norm(self.norm(self.conv(x))).mean((2, 3)))


class OwnConvolution(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).relu()


def hooked(*names, kind="register_forward_hook"):
    network = own.Small()
    for name in names:
        getattr(network.get_submodule(name), kind)(lambda *_: None)
    return network


def changed(**modules):
    network = own.Small()
    for name, module in modules.items():
        setattr(network, name, module)
    return network


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        nn.Sequential(nn.Linear(8, 8), nn.BatchNorm2d(8)),
        changed(norm=nn.BatchNorm2d(4, track_running_stats=False)),
        changed(conv=OwnConvolution(3, 4, 3)),
        changed(conv=parametrizations.weight_norm(nn.Conv2d(3, 4, 3))),
        Added(),
        ChangedInPlace(),
        Both(),
        Both(again=False),
        ByName(),
        NormTwice(),
        own.Twice(),
        hooked("conv"),
        hooked("norm", kind="register_forward_pre_hook"),
    ],
    ids=lambda network: type(network).__name__,
)
def test_what_is_more_than_both_is_left_alone(network):
    assert pairs(trained(network)) == {}


def test_a_batch_norm_that_is_training_is_left_alone():
    network = trained(own.Small())
    network.norm.training = True
    assert pairs(network) == {}


class Shared(own.Small):
    """Calls both modules twice, the second time before the first has been normalized."""

    def forward(self, x):
        one, other = self.conv(x), self.conv(2 * x)
        return self.fc((self.norm(other) + F.relu(self.norm(one), inplace=True)).mean((2, 3)))


def test_modules_that_are_called_twice_together():
    network, image = trained(Shared()), torch.randn(3, 3, 8, 8)
    assert pairs(network) == {"conv": "norm"}
    torch.testing.assert_close(folded(network, {"conv": "norm"})(image), network(image))
    assert pairs(network, ["conv_1"]) == pairs(network, ["conv"]) == {}


@pytest.mark.parametrize("kept", ["", "conv.0", "conv.0_1"])
def test_inside_a_sequence_that_the_graph_shows_as_one_node(kept):
    network, image = trained(changed(conv=Conv2dNormActivation(3, 4, 3))), torch.randn(3, 3, 8, 8)
    found = pairs(network, [kept])
    assert found == ({} if kept else {"conv.0": "conv.1"})
    torch.testing.assert_close(folded(network, found)(image), network(image))
    shared = changed(conv=Conv2dNormActivation(3, 4, 3))
    shared.norm = shared.conv[1]
    assert pairs(trained(shared)) == {}


def test_a_layer_that_is_read_stays_as_it_is_under_each_of_its_names():
    network = trained(nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)))
    assert pairs(network, ["1"]) == {"0.0": "1"}
    assert pairs(network, ["0"]) == pairs(network, ["0.0"]) == {}


def test_the_network_is_not_changed_and_shares_all_other_tensors():
    network = digits_resnet().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = pairs(network)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert len(found) == norms > 10
    fast = folded(network, found)
    image = torch.rand(5, 3, 8, 8)
    expected = network(image)
    torch.testing.assert_close(fast(image), expected)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    own_tensors = dict(network.named_parameters())
    fresh = {name for name, value in fast.named_parameters() if value is not own_tensors.get(name)}
    assert fresh == {f"{name}.{part}" for name in found for part in ("weight", "bias")}
    assert not any(value.requires_grad for value in fast.parameters())
    assert fast.layer1[0].conv2.weight.stride() == network.layer1[0].conv2.weight.stride()


@pytest.mark.parametrize("cast", [False, True])
def test_rounding_hardly_grows(cast):
    """The reference is the network in float64, whether or not what is held to it computes in bfloat16."""
    network = digits_resnet().eval().requires_grad_(False)
    fast, image = folded(network, pairs(network)), torch.rand(200, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16, enabled=cast):
        found = [fast(image), network(image)]
    exact = network.double()(image.double())
    error, usual = ((logits - exact).abs().mean() for logits in found)
    assert error < 1.5 * usual


def test_gradients_pass_though_it_was_made_where_there_are_none():
    network = trained(own.Small())
    with torch.inference_mode():
        fast = folded(network, {"conv": "norm"})
    image = torch.rand(2, 3, 8, 8, requires_grad=True)
    assert torch.autograd.grad(fast(image).sum(), image)[0].abs().sum() > 0
