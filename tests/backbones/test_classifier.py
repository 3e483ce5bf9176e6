import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lit_knn.backbones import Classifier, Tap
from lit_knn.backbones.features.pooling import pool
from lit_knn.data.preprocessing import Preprocessing
from lit_knn.errors import UserError
from tests.backbones import own_networks as own
from tests.conftest import NETWORK

FILE = """
from torch import nn
def net(width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(7)
    )
def plain():
    network = net()
    network(__import__("torch").zeros(2, 3, 6, 6))
    return network
"""

EXTRA = """
from torch import nn
class Net(nn.Linear):
    def __init__(self, extra):
        super().__init__(3, 4)
        self.held = (extra,)
    def get_extra_state(self): return {"held": self.held}
    def set_extra_state(self, state): self.held = state["held"]
"""
SCRIPTED = """
import torch
from torch import nn
def net():
    return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10)))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def classifier(file):
    torch.manual_seed(0)
    return Classifier(network=f"{file}:plain", mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])


def test_it_owns_its_normalization(classifier):
    image = torch.rand(2, 3, 6, 6)
    normalized = (image - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1)
    torch.testing.assert_close(classifier.normalize(image), normalized)
    torch.testing.assert_close(classifier(image), classifier.network(normalized))


def test_the_memory_layout_changes_nothing_but_speed(file):
    image = torch.rand(2, 3, 6, 6)
    torch.manual_seed(0)
    fast = Classifier(network=f"{file}:plain")
    torch.manual_seed(0)
    plain = Classifier(network=f"{file}:plain", channels_last=False)
    assert fast.network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert plain.network[0].weight.is_contiguous()
    torch.testing.assert_close(fast(image), plain(image))
    assert fast.fingerprint() == plain.fingerprint()


def test_a_network_with_weights_of_volumes_has_no_channels_last(tmp_path):
    layers = "nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 10, (3, 6, 6)), nn.Flatten()"
    code = f"from torch import nn\ndef net(): return nn.Sequential({layers})"
    (tmp_path / "nets.py").write_text(code)
    classifier = Classifier(network=f"{tmp_path}/nets.py:net", mean=[0.5] * 3, std=[0.5] * 3)
    image = torch.rand(2, 3, 6, 6)
    expected = torch.einsum("nchw,ochw->no", (image - 0.5) / 0.5, classifier.network[1].weight[:, 0])
    torch.testing.assert_close(classifier(image), expected + classifier.network[1].bias)


def test_it_is_frozen_and_nothing_puts_it_into_training(classifier):
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    assert classifier.train() is classifier
    nn.ModuleList([classifier]).train()
    assert not any(module.training for module in classifier.modules())
    image = torch.rand(4, 3, 6, 6, requires_grad=True)
    first = classifier(image)
    assert torch.equal(first, classifier(image))  # no dropout
    first.sum().backward()  # gradients reach the pixels
    assert image.grad.abs().sum() > 0
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_tapped_gives_the_logits_of_forward_and_every_tap_by_name(classifier):
    image = torch.rand(2, 3, 6, 6)
    logits, taps = classifier.tapped(image, [Tap("1", pool=2, name="norm"), Tap("0")])
    assert torch.equal(logits, classifier(image))
    assert {name: tuple(rows.shape) for name, rows in taps.items()} == {"norm": (2, 16), "0": (2, 4)}
    assert (taps["norm"] < 0).any()  # before the ReLU that works in place
    assert classifier.tapped(image, [])[1] == {}
    with pytest.raises(UserError, match="no layer 'nowhere'"):
        classifier.tapped(image, [Tap("nowhere")])


def test_equal_weights_equal_fingerprint_and_any_change_another(file):
    def build(**changes):
        torch.manual_seed(0)
        return Classifier(**{"network": f"{file}:plain", "name": "n", **changes})

    reference = build().fingerprint()
    assert reference.startswith("n-")
    assert build().fingerprint() == reference
    assert build(name="m").fingerprint() != reference
    assert build(mean=[0.1, 0.2, 0.3]).fingerprint() != reference
    assert build(std=[0.1, 0.2, 0.3]).fingerprint() != reference
    for part in ("0.weight", "1.running_mean", "1.num_batches_tracked", "5.bias"):
        changed = build()
        value = changed.network.state_dict()[part]
        value[(0,) * value.ndim] += 1
        assert changed.fingerprint() != reference, part


def test_weights_are_loaded_and_arguments_passed_on(file, tmp_path):
    source = Classifier(network="torchvision/squeezenet1_1", arguments={"num_classes": 3})
    torch.save(source.network.state_dict(), tmp_path / "w.pth")
    target = Classifier(network="torchvision/squeezenet1_1", arguments={"num_classes": 3}, weights=tmp_path / "w.pth")
    assert target.fingerprint() == source.fingerprint()
    assert target.name == "squeezenet1_1"
    assert Classifier(network=f"{file}:plain").name == "plain"


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0.5], [0.5] * 3),
        ([0.5] * 3, [0.5, 0, 0.5]),
        ([0.5] * 3, [0.5] * 4),
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ([0.5, 0.5, float("nan")], [0.5] * 3),
        ([0.5] * 3, [0.5, 0.5, float("nan")]),
    ],
)
def test_normalization_that_makes_no_sense(file, mean, std):
    with pytest.raises(UserError, match="three values each"):
        Classifier(network=f"{file}:plain", mean=mean, std=std)


@pytest.mark.parametrize(("size", "said"), [(9, r"9, 9\), .* as its input_size"), (None, r"7, 7\), .* as data.pre")])
def test_the_size_that_a_network_failed_on_is_that_which_it_was_given(file, size, said):
    classifier = Classifier(network=f"{file}:plain", mean=[0.5] * 3, std=[0.5] * 3, input_size=size)
    with pytest.raises(UserError, match=rf"failed on images \(2, 3, {said}"):
        classifier(torch.rand(2, 3, 7, 7))


def test_activations_are_those_of_tapped_without_the_layers_behind(classifier):
    image, taps = torch.rand(2, 3, 6, 6), [Tap("1", pool=2, name="norm"), Tap("0")]
    classifier.examine(image, taps)
    ran = []
    handle = classifier.network[-1].register_forward_hook(lambda *_: ran.append(1))
    activations = classifier.activations(image, taps)
    handle.remove()
    expected = classifier.tapped(image, taps)[1]
    assert activations.keys() == expected.keys()
    assert all(torch.equal(activations[name], value) for name, value in expected.items())
    assert not ran


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "double"])
def test_weights_of_any_precision_become_float32(dtype, tmp_path):
    (tmp_path / "net.py").write_text(f"from {own.__name__} import Small\ndef net(): return Small().{dtype}()\n")
    torch.manual_seed(0)
    classifier = Classifier(network=f"{tmp_path}/net.py:net")
    torch.manual_seed(0)
    reference = getattr(own.Small(), dtype)().float().eval()
    image = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(classifier(image), reference(classifier.normalize(image)))


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")
def test_torchscript_answers_and_has_no_taps(tmp_path):
    (tmp_path / "net.py").write_text(SCRIPTED)
    classifier, image = Classifier(network=f"{tmp_path}/net.py:net"), torch.rand(2, 3, 8, 8)
    logits = classifier.tapped(image, [])[0]
    torch.testing.assert_close(logits, classifier.network(classifier.normalize(image)))
    with pytest.raises(UserError, match="'0' is a module of TorchScript"):
        classifier.tapped(image, [Tap("0")])


def test_moving_it_moves_what_it_has_recorded(classifier):
    image, taps = torch.rand(2, 3, 6, 6), [Tap("1", pool=2)]
    expected = classifier.tapped(image, taps)
    found = classifier.double().tapped(image.double(), taps)
    for one, other in zip((expected[0], expected[1]["1"]), (found[0], found[1]["1"]), strict=True):
        assert other.dtype == torch.float64
        torch.testing.assert_close(one, other.float())


def test_what_one_should_know_is_said_once(tmp_path, caplog):
    (tmp_path / "net.py").write_text(f"from {own.__name__} import Noise as net\n")
    classifier = Classifier(network=f"{tmp_path}/net.py:net", mean=[0.5] * 3, std=[0.5] * 3)
    assert classifier.num_classes is None
    for _ in range(2):
        classifier.examine(torch.rand(2, 3, 8, 8), [Tap("conv")])
    assert classifier.num_classes == 10
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(classifier.warnings) == 1
    assert classifier.warnings == said
    assert "net draws random numbers when it answers" in classifier.warnings[0]


def test_a_network_of_timm_is_normalized_by_its_own_configuration(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=5)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    name, image = "timm/tf_efficientnet_lite0", torch.rand(2, 3, 64, 64)
    classifier = Classifier(network=name, arguments={"num_classes": 5}, weights=tmp_path / "w.pth")
    torch.testing.assert_close(classifier(image), theirs.eval()((image - 0.5) / 0.5), rtol=1e-4, atol=1e-4)
    assert not classifier.warnings
    classifier.examine(image)
    assert len(classifier.warnings) == 1
    assert "timm's tf_efficientnet_lite0 says (64×64 pixels for 224×224): set data.prepro" in classifier.warnings[0]
    given = Classifier(network=name, arguments={"num_classes": 5}, mean=[0.1] * 3)
    assert given.mean.flatten().tolist() == pytest.approx([0.1] * 3)
    assert given.std.flatten().tolist() == [0.5] * 3
    assert "random weights" in given.warnings[0]


def test_what_nobody_says_is_imagenets_and_a_warning(file):
    classifier = Classifier(network=f"{file}:plain")
    assert classifier.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "plain does not say how its images are normalized" in classifier.warnings[0]
    assert not Classifier(network=f"{file}:plain", mean=[0.5] * 3, std=[0.5] * 3).warnings
    assert ["random weights" in line for line in Classifier(network="torchvision/squeezenet1_1").warnings] == [True]


def test_what_no_tensor_holds_is_in_the_fingerprint(tmp_path):
    (tmp_path / "net.py").write_text(EXTRA)

    def fingerprint(extra, **changes):
        torch.manual_seed(0)
        network = {"network": f"{tmp_path}/net.py:Net", "arguments": {"extra": extra}}
        return Classifier(**network, mean=[0.5] * 3, std=[0.5] * 3, **changes).fingerprint()

    assert fingerprint([1, {"a": 2}]) == fingerprint([1, {"a": 2}])
    assert len({fingerprint(1), fingerprint([1, {"a": 2}]), fingerprint([1, {"a": 3}]), fingerprint(1, output=0)}) == 4


def test_what_was_read_before_decides_nothing():
    """A test that has built its database itself answers as one that finds it."""
    classifier, image = Classifier(**NETWORK), torch.rand(9, 3, 8, 8)
    classifier.examine(image)
    expected = classifier(image)
    classifier.tapped(image, [Tap("conv1"), Tap("layer1.0.conv2")])
    assert not torch.equal(classifier(image), expected)  # their BatchNorms are computed
    classifier.examine(image)
    assert torch.equal(classifier(image), expected)
    as_it_is = Classifier(**NETWORK, fold=False)
    as_it_is.examine(image)
    assert torch.equal(as_it_is(image), as_it_is.network(as_it_is.normalize(image)))
    assert as_it_is.fingerprint() == classifier.fingerprint()
    assert classifier.state_dict().keys() == as_it_is.state_dict().keys()


def test_a_refusal_of_what_a_network_does_names_it():
    remembering = Classifier(
        network="tests.backbones.own_networks.Remembering", mean=[0.5] * 3, std=[0.5] * 3, name="mine"
    )
    with pytest.raises(UserError, match=r"^network mine: the network changes its own 'seen'"):
        remembering.examine(torch.rand(3, 3, 8, 8))


def test_images_of_any_size_reach_a_network_of_its_own(file):
    """It is attacked through the resize, and fingerprints know it."""
    plain = Classifier(network="torchvision/squeezenet1_1", name="n")
    torch.save(plain.network.state_dict(), file.with_name("w.pth"))
    sized = {"network": "torchvision/squeezenet1_1", "weights": file.with_name("w.pth"), "name": "n", "fold": False}
    classifier, same = Classifier(**sized, input_size=40), Classifier(**sized)
    image = torch.rand(2, 3, 64, 48, requires_grad=True)
    small = F.interpolate(image, (40, 40), mode="bilinear", antialias=True)
    for of_this, of_small in [
        (classifier(image), same(small)),
        (classifier.tapped(image, [Tap("features.3")])[0], same(small)),
        (
            classifier.activations(image, [Tap("features.3")])["features.3"],
            same.activations(small, [Tap("features.3")])["features.3"],
        ),
        (classifier.resume(image, "features.3", torch.zeros_like), same.resume(small, "features.3", torch.zeros_like)),
    ]:
        torch.testing.assert_close(of_this, of_small)
    (one,), (other,) = (
        torch.autograd.grad(net(x)[:, 0].sum(), image) for net, x in ((classifier, image), (same, small))
    )
    torch.testing.assert_close(one, other)
    assert (
        len({classifier.fingerprint(), same.fingerprint(), Classifier(**sized, input_size=[40, 48]).fingerprint()}) == 3
    )


def test_the_network_may_have_other_classes_than_the_labels(classifier, file):
    torch.manual_seed(0)
    normalized = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    part = Classifier(network=f"{file}:plain", **normalized, classes=[6, 0, 2])
    image = torch.rand(3, 3, 6, 6)
    part.examine(image)
    assert part.num_classes == 3
    expected = classifier(image)[:, [6, 0, 2]]
    for found in (part(image), part.tapped(image, [Tap("0")])[0], part.resume(image, "0", lambda x: x)):
        torch.testing.assert_close(found, expected)
    assert part.fingerprint() != Classifier(network=f"{file}:plain", **normalized).fingerprint()
    with pytest.raises(UserError, match="network plain has classes 0 to 6, but its `classes` name 7"):
        Classifier(network=f"{file}:plain", **normalized, classes=[6, 7]).examine(image)


def test_a_network_of_timm_is_given_its_size(tmp_path):
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("tf_efficientnet_lite0", num_classes=5).state_dict(), tmp_path / "w.pth")
    known = {"network": "timm/tf_efficientnet_lite0", "arguments": {"num_classes": 5}, "weights": tmp_path / "w.pth"}
    classifier = Classifier(**known, input_size=224)
    classifier.examine(torch.rand(2, 3, 64, 64), preprocessing=Preprocessing(resize=64, crop=64))
    assert not classifier.warnings


@pytest.mark.parametrize("kind", ["Maps", "Pair", "Record", "MapsOfValues"])
def test_a_network_that_need_not_have_logits_has_activations(kind):
    """In its graph or at its modules, whatever it returns."""
    known = {"mean": [0.5] * 3, "std": [0.5] * 3}
    network, same = (Classifier(network=f"tests.backbones.own_networks.{kind}", **known) for _ in range(2))
    same.network.load_state_dict(network.network.state_dict())
    image, tap = torch.rand(5, 3, 8, 8), Tap("norm", pool=2)
    with pytest.raises(UserError, match=r"the network returns .* where logits"):
        same.activations(image, [tap])
    fingerprint = network.fingerprint()
    network.need_no_logits()
    network.examine(image, [tap])
    expected = network.network.norm(network.network.conv((image - 0.5) / 0.5))
    torch.testing.assert_close(network.activations(image, [tap])["norm"], pool(expected, 2))
    names = [layer.name for layer in network.layers(image)[0]]
    assert {"conv", "norm"} <= set(names)
    assert network.fingerprint() == fingerprint
