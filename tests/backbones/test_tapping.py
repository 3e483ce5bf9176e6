import copy
import random

import pytest
import torch

from lit_knn.backbones.features.pooling import pool
from lit_knn.backbones.tapping import Tapping, require_layers
from lit_knn.backbones.taps import Tap
from lit_knn.errors import UserError
from tests.backbones import own_networks as own

IMAGE = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def build(kind, **arguments):
    torch.manual_seed(0)
    return kind(**arguments).eval().requires_grad_(False)


def tapping(network, taps, output=None, image=IMAGE, layers=()):
    found = Tapping(network, output)
    found.examine(image, taps, layers)
    return found


def eager(network, layer, image=IMAGE, call=0):
    """What the network returns, and what a module of it returned at one of its calls."""
    caught = []
    handle = network.get_submodule(layer).register_forward_hook(lambda *called: caught.append(called[2].clone()))
    output = network(image)
    handle.remove()
    return output, pool(caught[call], 2)


GRAPH, MODULES = True, False


@pytest.mark.parametrize(
    ("kind", "output", "source"),
    [
        (own.Small, None, GRAPH),
        (own.NeverReturned, None, GRAPH),
        (own.InPlace, None, GRAPH),
        (own.Flag, None, GRAPH),
        (own.Pair, 0, GRAPH),
        (own.Pair, -1, GRAPH),
        (own.Dict, "logits", GRAPH),
        (own.Record, "logits", GRAPH),
        (own.RecordOfValues, "logits", MODULES),
        (own.ValueFlow, None, MODULES),
        (own.Isinstance, None, MODULES),
        (own.ShapeFlow, None, MODULES),
        (own.Twice, None, GRAPH),
    ],
)
def test_logits_and_activations_are_those_of_the_network(kind, output, source):
    network, taps = build(kind), [Tap("conv", pool=2)]
    expected, activation = eager(network, "conv")
    expected = (
        expected if output is None else expected[output] if isinstance(expected, dict | tuple) else expected.logits
    )
    found = tapping(network, taps, output)
    assert (found.objection == "") == source
    for image in (IMAGE, IMAGE[:2]):  # whatever the size of the batch that was examined
        logits, features = found.tapped(image, taps)
        torch.testing.assert_close(logits, expected[: len(image)])
        torch.testing.assert_close(features["conv"], activation[: len(image)])
        torch.testing.assert_close(found.activations(image, taps)["conv"], features["conv"], rtol=0, atol=0)
    assert vars(network).get("last", expected).__class__ is torch.Tensor  # and tracing left nothing behind


@pytest.mark.parametrize("kind", [own.Small, own.NeverReturned, own.InPlace, own.Pair])
def test_a_node_between_modules_is_read_from_the_graph(kind):
    network, taps = build(kind), [Tap("add", pool=2)]
    before = {}
    handle = network.norm.register_forward_hook(lambda *called: before.update(norm=called[2] + 1))
    network(IMAGE)
    handle.remove()
    features = tapping(network, taps, 0 if kind is own.Pair else None).tapped(IMAGE, taps)[1]
    torch.testing.assert_close(features["add"], pool(before["norm"], 2))


@pytest.mark.parametrize("kind", [own.Isinstance, own.Noise, own.Coin, own.ValueFlow, own.Counting])
def test_such_a_node_is_refused_where_the_graph_is_not_the_network(kind):
    with pytest.raises(
        UserError, match=r"no layer 'add' among its modules, and its graph cannot be used: .*near it are"
    ):
        tapping(build(kind), [Tap("add", pool=2)])


@pytest.mark.parametrize("kind", [own.Noise, own.NoiseOfAnyShape, own.OwnNoise, own.Coin, own.Dropout])
def test_a_randomized_network_stays_random(kind):
    network, taps = build(kind), [Tap("conv", pool=2)]
    found = tapping(network, taps)
    answers = {tuple(found.tapped(IMAGE, taps)[0].flatten().tolist()) for _ in range(20)}
    activations = {tuple(found.activations(IMAGE, taps)["conv"].flatten().tolist()) for _ in range(20)}
    assert len(answers) > 1
    assert len(activations) > 1
    assert found.examine(IMAGE, taps).randomized
    if kind is not own.OwnNoise:  # the same draws, the same answer as the network's
        state, python = torch.get_rng_state(), random.getstate()
        logits, features = found.tapped(IMAGE, taps)
        torch.set_rng_state(state)
        random.setstate(python)
        expected, activation = eager(network, "conv")
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(features["conv"], activation)


@pytest.mark.parametrize("kind", [own.Noise, own.Coin, own.Dropout])
def test_examining_draws_nothing(kind):
    network, states = build(kind), (torch.get_rng_state(), random.getstate())
    tapping(network, [Tap("conv")])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert not Tapping(build(own.Small)).examine(IMAGE, []).randomized


def test_a_module_that_is_called_again_has_a_tap_for_each_call():
    network, taps = build(own.Twice), [Tap("conv", pool=2), Tap("conv_1", pool=2)]
    found = tapping(network, taps)
    assert not found.objection
    hooked = tapping(build(own.Twice), taps)
    hooked.objection, hooked._trace = "as if it could not be traced", None
    for source in (found, hooked):
        features = source.tapped(IMAGE, taps)[1]
        for call, name in enumerate(("conv", "conv_1")):
            torch.testing.assert_close(features[name], eager(network, "conv", call=call)[1])


def test_a_module_is_read_as_it_was_returned():
    network, taps = build(own.LaterInPlace), [Tap("add", pool=2)]
    found = tapping(network, taps)
    torch.testing.assert_close(found.tapped(IMAGE, taps)[1]["add"], pool(IMAGE + 1, 2))
    assert "activations at 'add'" in found.objection


@pytest.mark.parametrize("layer", ["encoder", "encoder.layers.0", "encoder.layers.1.linear2"])
def test_inside_what_the_graph_shows_as_one_node(layer):
    network, taps = build(own.Encoder), [Tap(layer)]
    caught = []
    handle = network.get_submodule(layer).register_forward_hook(lambda *called: caught.append(called[2].mean(1)))
    expected = network(IMAGE)
    handle.remove()
    logits, features = tapping(network, taps).tapped(IMAGE, taps)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(features[layer], caught[0])


@pytest.mark.parametrize(
    ("kind", "layers", "sentence"),
    [
        (own.TupleInside, ["pair"], "tap 'pair' gives a tuple with 0: a float32 tensor"),
        (own.Encoder, ["encoder.layers.0.self_attn"], "gives a tuple"),
        (own.Encoder, ["nowhere"], "no layer 'nowhere'; near it are"),
        (own.Encoder, ["flatten", "encoder.layers.0"], "cannot be read together"),
        (own.Small, ["mean_2"], "no layer 'mean_2'"),
        (own.Small, ["fc.weight"], "no layer"),
    ],
)
def test_taps_without_an_activation_are_refused(kind, layers, sentence):
    with pytest.raises(UserError, match=sentence):
        tapping(build(kind), [Tap(layer) for layer in layers])


def test_a_module_that_the_network_did_not_call():
    network, taps = build(own.Skipped), [Tap("extra")]
    image = IMAGE.abs()
    found = tapping(network, taps, image=image)
    torch.testing.assert_close(found.tapped(image, taps)[1]["extra"], network.extra(image).mean((2, 3)))
    with pytest.raises(UserError, match="'extra' gave no activation for a batch of 6 images"):
        found.tapped(-image, taps)


def test_tokens_before_images_are_refused():
    with pytest.raises(UserError, match=r"tap 'encoder' gives a float32 tensor \(16, 6, 8\) for 6 images"):
        tapping(build(own.Encoder, batch_first=False), [Tap("encoder")])


def end(network, activation):
    """What an `own.Small` comes to from behind its sum."""
    return network.fc(activation.relu().mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "output"), [(own.Small, None), (own.InPlace, None), (own.Pair, 0), (own.Isinstance, None)]
)
def test_a_network_goes_on_from_a_layer_with_another_activation(kind, output):
    network = build(kind)
    found = tapping(network, [], output, layers=["conv"])
    image = IMAGE.clamp(-0.5, 0.5) if kind is own.InPlace else IMAGE
    conv = network.conv(image)
    resumed = found.resumed(IMAGE, "conv", lambda activation: activation.flip(1))
    torch.testing.assert_close(resumed, end(network, network.norm(conv.flip(1)) + 1))
    if kind is not own.Isinstance:  # whose graph is another network
        resumed = found.resumed(IMAGE, "add", lambda activation: activation - 3)
        torch.testing.assert_close(resumed, end(network, network.norm(conv) - 2))


def test_a_gradient_passes_the_change():
    network, image = build(own.Small), IMAGE.clone().requires_grad_()
    found = tapping(network, [])
    gradient = torch.autograd.grad(found.resumed(image, "conv", lambda activation: 2 * activation).sum(), image)[0]
    expected = torch.autograd.grad(end(network, network.norm(2 * network.conv(image)) + 1).sum(), image)[0]
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("graph", [True, False])
def test_a_layer_is_resumed_at_the_call_that_is_named(graph):
    network = build(own.Twice)
    found = tapping(network, [])
    if not graph:
        found.objection, found._trace = "as if it could not be traced", None
    first, second = (found.resumed(IMAGE, layer, torch.zeros_like) for layer in ("conv", "conv_1"))
    calls = []
    handle = network.conv.register_forward_hook(
        lambda *_: calls.append(None) or (torch.zeros_like(_[2]) if len(calls) == 2 else None)
    )
    torch.testing.assert_close(second, network(IMAGE))
    handle.remove()
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("kind", "layer", "change", "sentence"),
    [
        (own.Small, "nowhere", torch.relu, "no layer 'nowhere'; near it are"),
        (
            own.Small,
            "conv",
            lambda activation: activation[:1],
            r"'conv' gives a float32 tensor \(6, 4, 6, 6\), and was changed to .*\(1, 4",
        ),
        (own.Isinstance, "conv", lambda activation: None, "and was changed to nothing"),
        (own.TupleInside, "pair", torch.relu, "layer 'pair' gives a tuple with 0"),
        (own.Skipped, "extra", torch.relu, "did not call its module 'extra'"),
    ],
)
def test_what_cannot_be_resumed_is_refused(kind, layer, change, sentence):
    with pytest.raises(UserError, match=sentence):
        tapping(build(kind), [], image=-IMAGE.abs()).resumed(-IMAGE.abs(), layer, change)


def test_layers_are_tried_with_the_first_batch():
    with pytest.raises(UserError, match="did not call its module 'extra'"):
        Tapping(build(own.Skipped)).examine(-IMAGE.abs(), [], ["extra"])
    found = Tapping(build(own.Isinstance))
    assert found.examine(IMAGE, [], ["conv"]).objection == "its logits are not those of the network"
    assert found.objection


@pytest.mark.parametrize("kind", [own.Small, own.ValueFlow])
def test_a_layer_that_does_not_exist_is_known_without_an_image(kind):
    network = build(kind)
    before, drawn = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    require_layers(network, [Tap("conv", pool=2)])
    with pytest.raises(UserError, match=r"the network has no layer 'conv7'.*near it are conv"):
        require_layers(network, [Tap("conv"), Tap("conv7")])
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
