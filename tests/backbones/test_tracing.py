import pytest
import torch
from torch.fx.proxy import TraceError
from torchvision.models import get_model
from torchvision.models.feature_extraction import get_graph_node_names

from lit_knn.backbones.hooking import hooked
from lit_knn.backbones.taps import Tap
from lit_knn.backbones.tracing import Trace
from tests.backbones import own_networks as own


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_16", "swin_t"])
def test_functions_are_called_as_by_torchvision_and_modules_by_their_names(name):
    network = get_model(name, weights=None).eval()
    nodes, modules = Trace(network).nodes, dict(network.named_modules())
    weights = {name.replace(".", "_") for name in network.state_dict()}
    functions = {
        node
        for node in get_graph_node_names(network, suppress_diff_warning=True)[1]
        if node not in modules and node.split(".")[-1] not in {*weights, "ln"}  # their name of `ln_1`
    }
    later_calls = {node for node in nodes if node.rpartition("_")[0] in modules}
    assert functions <= set(nodes) <= functions | set(modules) | later_calls


def test_a_number_at_the_end_of_a_modules_name_is_no_call():
    network, image = own.Numbered().eval().requires_grad_(False), torch.rand(2, 3, 8, 8)
    names = ["conv_1", "conv_2", "conv_3", "conv_3_1"]
    expected, handles = {}, []
    for name in names[:3]:
        module = network.get_submodule(name)
        handles.append(module.register_forward_hook(lambda *c, name=name: expected.setdefault(name, []).append(c[2])))
    logits = network(image)
    for handle in handles:
        handle.remove()
    expected = {**{name: expected[name][0] for name in names[:3]}, "conv_3_1": expected["conv_3"][1]}
    found, features = Trace(network).tapped([Tap(name) for name in names], None)(image)
    torch.testing.assert_close(found, logits)
    for name, activation in expected.items():
        torch.testing.assert_close(features[name], activation.mean((2, 3)))
    hooked_features = hooked(network, [Tap(name) for name in names], None)(image)[1]
    assert all(torch.equal(hooked_features[name], features[name]) for name in names)


def test_a_module_is_the_node_that_it_returned_first():
    nodes = Trace(get_model("resnet18", weights=None).eval()).nodes
    assert nodes["layer4"] is nodes["layer4.1"] is nodes["layer4.1.relu_1"]
    assert nodes["layer1.0.relu"] is not nodes["layer1.0.relu_1"]


def test_the_network_is_not_touched_and_shares_its_weights():
    class Keeping(own.Small):
        def __init__(self):
            super().__init__()
            self.kept = []

        def forward(self, x):
            self.kept.append(x)
            self.last = x
            self.calls = len(self.kept)
            return self.logits(x)

    network, image = Keeping().eval().requires_grad_(False), torch.rand(2, 3, 8, 8)
    before = dict(vars(network))
    tapped = Trace(network).tapped([Tap("conv")], None)
    assert vars(network) == before
    assert network.kept == []
    expected = network(image)
    torch.testing.assert_close(tapped(image)[0], expected)
    network.fc.bias += 1
    torch.testing.assert_close(tapped(image)[0], expected + 1)


def test_nothing_behind_the_last_tap_is_run():
    ran: list[int] = []
    network, image = own.Small().eval().requires_grad_(False), torch.rand(2, 3, 8, 8)
    trace = Trace(network)
    trace._root.network.fc.register_forward_hook(lambda *_: ran.append(1))
    features = trace.tapped([Tap("norm"), Tap("conv")], None, logits=False)(image)[1]
    assert not ran
    torch.testing.assert_close(features["conv"], network.conv(image).mean((2, 3)))
    trace.tapped([Tap("conv")], None)(image)
    assert ran


def test_control_flow_on_values_has_no_graph():
    with pytest.raises(TraceError):
        Trace(own.ValueFlow().eval())
