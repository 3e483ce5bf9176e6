import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from lit_knn.backbones.features.pooling import pool
from lit_knn.backbones.tapping import Tapping
from lit_knn.backbones.taps import PAPER_TAPS, Tap
from lit_knn.errors import UserError


def tap_network(network, taps):
    def tapped(image):
        tapping = Tapping(network)
        tapping.examine(image, taps)
        return tapping.tapped(image, taps)

    return tapped


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = resnet50(weights=None).eval().requires_grad_(False)
    for module in network.modules():  # random networks' last scales are zero-free, but far from trained ones
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.weight.uniform_(0.5, 1.5)
    return network


def by_hooks(network, image):
    """The paper's activations, caught as what each block's last ReLU is given, before it overwrites them."""
    caught, handles = {}, []
    for name, (node, _) in PAPER_TAPS.items():
        block = network.get_submodule(node.removesuffix(".add"))
        # A bottleneck calls its one ReLU three times; the last call is the one after the sum.
        handles.append(
            block.relu.register_forward_pre_hook(
                lambda _module, inputs, name=name: caught.__setitem__(name, inputs[0].clone())
            )
        )
    logits = network(image)
    for handle in handles:
        handle.remove()
    return logits, caught


def test_the_papers_taps_are_what_hooks_see_before_the_relu(network):
    image = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    expected_logits, expected = by_hooks(network, image)
    logits, features = tap_network(network, [Tap(name) for name in PAPER_TAPS])(image)
    torch.testing.assert_close(logits, expected_logits, rtol=0, atol=0)
    sizes = {"conv_2_3": 256 * 49, "conv_3_4": 512 * 49, "conv_4_6": 1024 * 16, "conv_5_1": 2048}  # Table 3
    sizes["conv_5_1-RMAC"] = 2048
    for name, (_, size) in PAPER_TAPS.items():
        assert expected[name].min() < 0  # before the ReLU
        assert features[name].shape == (2, sizes[name])
        torch.testing.assert_close(features[name], pool(expected[name], size), rtol=0, atol=0)


def test_rmac_behind_the_relu_is_that_of_tolias_et_al(network):
    image = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    maps = by_hooks(network, image)[1]["conv_5_1"].relu()
    features = tap_network(network, [Tap("layer4.0.relu_2", pool="rmac")])(image)[1]
    torch.testing.assert_close(features["layer4.0.relu_2"], pool(maps, "rmac"), rtol=0, atol=0)


def test_the_network_is_not_changed(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inplace = [module.inplace for module in network.modules() if isinstance(module, nn.ReLU)]
    tap_network(network, [Tap("conv_5_1")])(torch.randn(1, 3, 64, 64))
    assert inplace == [module.inplace for module in network.modules() if isinstance(module, nn.ReLU)]
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_unknown_layer_names_its_neighbors(network):
    with pytest.raises(UserError, match=r"no layer 'layer4.0.addd'.*layer4\.0\.add"):
        tap_network(network, [Tap("layer4.0.addd")])(torch.randn(1, 3, 64, 64))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        if x.sum() > -1e9:  # control flow on values: no graph
            x = self.body(x)
        return self.head(x.mean((2, 3)))


def test_a_network_without_a_graph_is_tapped_at_its_modules_before_the_next_overwrites_them():
    network = Untraceable().eval().requires_grad_(False)
    image = torch.randn(2, 3, 8, 8)
    expected = network(image)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    tapped = pool(network.body[1](network.body[0](image)), 2)
    logits, features = tap_network(network, [Tap("body.1", pool=2)])(image)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(features["body.1"], tapped)
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert features["body.1"].min() < 0
    with pytest.raises(UserError, match=r"no layer 'body.9'.*body"):
        tap_network(network, [Tap("body.9")])(image)


def test_a_tap_on_an_untouched_input_of_an_inplace_function():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return torch.relu_(self.conv(x)).mean((2, 3))

    network = Functional().eval().requires_grad_(False)
    image = torch.randn(2, 3, 8, 8)
    features = tap_network(network, [Tap("conv", pool=3)])(image)[1]
    torch.testing.assert_close(features["conv"], pool(network.conv(image), 3))


def test_without_taps_there_are_only_logits():
    network = nn.Flatten()
    logits, features = tap_network(network, [])(torch.ones(1, 3, 2, 2))
    assert logits.shape == (1, 12)
    assert features == {}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"pool": 0}, "has pool 0; whole numbers from 1, rmac and cls"),
        ({"pool": "average"}, "has pool average; whole numbers from 1, rmac and cls"),
        ({"dimension": 0}, "has dimension 0; whole numbers from 1"),
        ({"dimension": 20, "bits": True}, "has dimension 20; multiples of 8"),
        ({"name": "a/b"}, "a/b"),
        ({"prefix_tokens": -1}, "has prefix_tokens: -1 with pool: 1; numbers from 1"),
        ({"prefix_tokens": 1, "pool": "cls"}, "has prefix_tokens: 1 with pool: cls"),
        ({"metric": "angle"}, "has metric 'angle'; euclidean and cosine"),
    ],
)
def test_impossible_taps(wrong, sentence):
    with pytest.raises(UserError, match=sentence):
        Tap("layer", **wrong)


def test_taps_with_other_features_have_another_identity():
    taps = [
        Tap("a"),
        Tap("a", pool="rmac"),
        Tap("a", dimension=8),
        Tap("a", bits=True),
        Tap("a", channels="last"),
        Tap("a", pool="cls"),
        Tap("a", prefix_tokens=1),
        Tap("a", metric="cosine"),
        Tap("b"),
    ]
    assert len({tap.identity() for tap in taps}) == len(taps)
    activations = [tap.activation for tap in taps]  # PCA and bits come after these
    assert activations[0] == activations[2] == activations[3]
    assert len(set(activations)) == len(taps) - 2
    assert Tap("a", name="other").identity() == taps[0].identity()


def test_two_taps_of_one_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten()).eval()
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        features = tap_network(network, [Tap("0", pool=1, name="a"), Tap("0", pool=2, name="b")])(image)[1]
        torch.testing.assert_close(features["a"], pool(network[0](image), 1))
        torch.testing.assert_close(features["b"], pool(network[0](image), 2))


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 5, 3), nn.LayerNorm(5)

    def forward(self, x):
        return self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2))


def test_maps_with_channels_last_and_a_tap_that_says_so():
    network = ChannelsLast().eval().requires_grad_(False)
    image = torch.randn(2, 3, 8, 8)
    maps = network.norm(network.conv(image).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    for size in (2, "rmac"):
        features = tap_network(network, [Tap("norm", pool=size, channels="last")])(image)[1]
        torch.testing.assert_close(features["norm"], pool(maps, size))
    with pytest.raises(UserError, match="channels"):
        tap_network(network, [Tap("norm")])(image)


class Tokens(nn.Module):
    """A class token and 2 × 2 patches of an image of 8 × 8 pixels, and no logits but 5 numbers."""

    def __init__(self):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, 5, 4, 4), nn.LayerNorm(5)

    def forward(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2)  # (N, 4, 5)
        return self.norm(torch.cat([patches.mean(1, keepdim=True), patches], 1))[:, 0]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("pooling", "of"),
    [
        ({"pool": "cls"}, lambda tokens: tokens[:, 0]),
        ({"prefix_tokens": 1}, lambda tokens: tokens[:, 1:].mean(1)),
        ({"pool": 2, "prefix_tokens": 1}, lambda tokens: tokens[:, 1:].transpose(1, 2).flatten(1)),
    ],
)
def test_tokens_of_a_transformer(metric, pooling, of):
    network = Tokens().eval().requires_grad_(False)
    image = torch.randn(3, 3, 8, 8, requires_grad=True)
    found = tap_network(network, [Tap("norm", metric=metric, **pooling)])(image)[1]["norm"]
    patches = network.patches(image).flatten(2).transpose(1, 2)
    expected = of(network.norm(torch.cat([patches.mean(1, keepdim=True), patches], 1)))
    if metric == "cosine":
        expected = expected / expected.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(part[:, 0].sum(), image, retain_graph=True)[0] for part in (found, expected)]
    torch.testing.assert_close(*slopes)


def test_rmac_follows_the_size_of_the_image_and_lets_gradients_through():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    tapped = tap_network(network, [Tap("0", pool="rmac")])
    for shape in ((2, 3, 8, 8), (1, 3, 9, 14)):
        image = torch.randn(shape, requires_grad=True)
        features = tapped(image)[1]["0"]
        torch.testing.assert_close(features, pool(network[0](image), "rmac"))
        features[:, 0].sum().backward()
        assert (image.grad.flatten(1).norm(dim=1) > 0).all()
