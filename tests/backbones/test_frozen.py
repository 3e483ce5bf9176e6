import copy

import pytest
import torch
from torch import nn

from lit_knn.backbones import frozen as module
from lit_knn.backbones.frozen import FrozenNetwork
from lit_knn.backbones.taps import Tap
from lit_knn.errors import UserError
from tests.backbones import own_networks as own
from tests.backbones.test_folding import trained
from tests.backbones.test_tapping import IMAGE, eager, end


@pytest.fixture
def norms(monkeypatch):
    """Counts BatchNorms that are computed."""
    calls, compute = [], torch.nn.functional.batch_norm
    monkeypatch.setattr(
        "torch.nn.functional.batch_norm", lambda *given, **named: calls.append(1) or compute(*given, **named)
    )
    return calls


def frozen(network, taps=(), output=None, layers=(), **options):
    found = FrozenNetwork(network, output, **options)
    found.examine(IMAGE, taps, layers)
    return found


@pytest.mark.parametrize(
    ("kind", "output"), [(own.Small, None), (own.Pair, 0), (own.Dict, "logits"), (own.InPlace, None)]
)
def test_all_that_is_asked_of_it_is_that_of_the_network_without_its_batch_norms(kind, output, norms):
    network, taps = trained(kind()), [Tap("norm", pool=2), Tap("add", pool=2)]
    exact = copy.deepcopy(network).double()
    returned, norm = eager(exact, "norm", IMAGE.double())
    expected = returned if output is None else returned[output]
    found = frozen(network, taps, output, ["norm", "add"])
    norms.clear()
    image = IMAGE.clone().requires_grad_()
    logits = found.logits(image)
    tapped, activations = found.tapped(IMAGE, taps)
    again = found.activations(IMAGE, taps)
    resumed = found.resumed(IMAGE, "norm", lambda activation: activation)
    assert not norms
    for one in (logits, tapped, resumed):
        torch.testing.assert_close(one.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits, tapped)
    for one in (activations, again):
        torch.testing.assert_close(one["norm"].double(), norm, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one["add"].double(), norm + 1, rtol=1e-5, atol=1e-5)
    wanted = IMAGE.double().requires_grad_()
    answer = exact(wanted) if output is None else exact(wanted)[output]
    torch.testing.assert_close(
        torch.autograd.grad(logits.logsumexp(1).sum(), image)[0].double(),
        torch.autograd.grad(answer.logsumexp(1).sum(), wanted)[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_convolution_that_is_read_or_changed_is_the_networks(norms):
    network = trained(own.Small())
    found = frozen(network)
    norms.clear()
    found.logits(IMAGE)
    assert not norms
    found.examine(IMAGE, [Tap("conv", pool=2)])
    expected = eager(network, "conv")
    norms.clear()
    logits, features = found.tapped(IMAGE, [Tap("conv", pool=2)])
    assert norms
    assert torch.equal(logits, found.logits(IMAGE))  # all that is asked is asked of one network
    torch.testing.assert_close((logits, features["conv"]), expected)
    conv = network.conv(IMAGE)
    found = frozen(network, layers=["conv"])
    resumed = found.resumed(IMAGE, "conv", lambda activation: activation.flip(1))
    torch.testing.assert_close(resumed, end(network, network.norm(conv.flip(1)) + 1))


@pytest.mark.parametrize(
    "kind", [own.ValueFlow, own.Isinstance, own.ShapeFlow, own.Noise, own.OwnNoise, own.Coin, own.RecordOfValues]
)
def test_a_network_without_a_graph_is_asked_as_it_is(kind, norms):
    output = "logits" if kind is own.RecordOfValues else None
    network = trained(kind())
    found = frozen(network, output=output)
    norms.clear()
    found.logits(IMAGE)
    assert norms
    if kind not in (own.Noise, own.OwnNoise, own.Coin):
        expected = network(IMAGE)
        assert torch.equal(found.logits(IMAGE), expected if output is None else expected.logits)


class Rows(nn.Module):
    """Its BatchNorm looks at rows, of which there are as many as the linear layer has outputs."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)

    def forward(self, x):
        return self.norm(self.linear(x.mean(1))).mean(1)


class Unwilling(own.Small):
    """Looks whether it is the network that was built."""

    def __init__(self):
        super().__init__()
        self.built = [id(self.conv.weight)]

    def forward(self, x):
        if id(dict(self.conv.named_parameters())["weight"]) not in self.built:
            raise RuntimeError("another network")
        return self.logits(x)


@pytest.mark.parametrize("kind", [Rows, Unwilling])
def test_a_folded_network_that_is_another_one_is_not_asked(kind, caplog):
    network = trained(kind())
    with caplog.at_level("INFO"):
        found = frozen(network, name="mine")
    assert "network mine is not folded: it" in caplog.text
    assert torch.equal(found.logits(IMAGE), network(IMAGE))


def test_that_a_network_is_folded_is_told_as_what_it_is(caplog):
    with caplog.at_level("INFO"):
        frozen(trained(own.Small()), name="mine")
    assert caplog.messages == ["network mine is made faster: 1 BatchNorm is computed within the layers before"]


def test_nothing_is_folded_before_a_batch_or_where_it_is_not_wanted(norms):
    network = trained(own.Small())
    for found in (FrozenNetwork(network), frozen(network, fold=False)):
        norms.clear()
        assert torch.equal(found.logits(IMAGE), network(IMAGE))
        assert len(norms) == 2


def test_weights_that_change_are_those_that_answer(norms):
    network, other = trained(own.Small()), trained(own.Small())
    found = frozen(network)
    network.load_state_dict(other.state_dict())
    torch.testing.assert_close(found.logits(IMAGE), other(IMAGE))
    found = frozen(network)
    state = {name: value.double() for name, value in other.state_dict().items() if value.is_floating_point()}
    with torch.no_grad():
        state["fc.bias"] = state["fc.bias"] + 1

    class Asked(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, image):
            return found.logits(image)

    swapped = torch.func.functional_call(
        Asked(), {f"network.{name}": value for name, value in state.items()}, IMAGE.double()
    )
    torch.testing.assert_close(swapped, other.double()(IMAGE.double()) + 1)
    network.requires_grad_(True)
    assert torch.autograd.grad(found.logits(IMAGE).sum(), network.norm.weight)[0].abs().sum() > 0


def test_it_follows_a_cast(norms):
    network, taps = trained(own.Small()), [Tap("norm", pool=2)]
    found = frozen(network, taps)
    found.forget()
    network.double()
    expected = eager(network, "norm", IMAGE.double())
    norms.clear()
    torch.testing.assert_close(found.logits(IMAGE.double()), expected[0])
    torch.testing.assert_close(found.tapped(IMAGE.double(), taps)[1]["norm"], expected[1])
    assert not norms


def test_examining_draws_nothing():
    network, state = trained(own.Dropout()), torch.get_rng_state()
    frozen(network)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("fails", [True, False])
def test_a_network_is_compiled_or_refused(fails, monkeypatch):
    """PyTorch's compiler is tried by a slow test."""
    compiled = []

    class Compiled(nn.Module):
        def __init__(self, network):
            super().__init__()
            compiled.append(network)
            self._orig_mod = network

        def forward(self, image):
            return self._orig_mod.no_such_layer(image) if fails else self._orig_mod(image)

    monkeypatch.setattr(module.torch, "compile", Compiled)
    network = trained(own.Small())
    if fails:
        with pytest.raises(UserError, match=r"network mine cannot be compiled \(.*no_such_layer.*\): set its compile"):
            frozen(network, name="mine", compile=True)
        return
    found = frozen(network, compile=True)
    torch.testing.assert_close(found.logits(IMAGE), network(IMAGE))
    assert len(compiled) == 1
    assert compiled[0] is not network  # but the folded one


@pytest.mark.slow
def test_a_compiled_network_is_the_network():
    network = trained(own.Small())
    found = frozen(network, compile=True)
    for size in (6, 2, 1):
        image, wanted = (IMAGE[:size].clone().requires_grad_() for _ in range(2))
        logits, expected = found.logits(image), network(wanted)
        torch.testing.assert_close(logits, expected)
        torch.testing.assert_close(
            *(torch.autograd.grad(one.logsumexp(1).sum(), at)[0] for one, at in ((logits, image), (expected, wanted)))
        )
