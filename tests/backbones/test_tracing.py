import pytest
import torch
from torch.fx.proxy import TraceError
from torchvision.models import get_model
from torchvision.models.feature_extraction import get_graph_node_names

from lit_knn.backbones.taps import Tap
from lit_knn.backbones.tracing import Trace
from tests.backbones import own_networks as own


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "swin_t"])
def test_nodes_are_called_as_torchvision_calls_them_and_modules_by_their_names(name):
    network = get_model(name, weights=None).eval()
    nodes = Trace(network).nodes
    weights = {name.replace(".", "_") for name in network.state_dict()}
    theirs = {
        node
        for node in get_graph_node_names(network, suppress_diff_warning=True)[1]
        if node.split(".")[-1] not in weights
    }
    assert theirs <= set(nodes) <= {*theirs, *dict(network.named_modules())}


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
