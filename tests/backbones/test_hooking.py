import pytest
import torch

from lit_knn.backbones.hooking import hooked, modules_by_tap
from lit_knn.backbones.taps import Tap
from lit_knn.errors import UserError
from tests.backbones import own_networks as own


def test_later_calls_of_a_module_end_in_a_number():
    network = own.Small()
    found = modules_by_tap(network, ["conv", "conv_1", "conv_12", "conv_0", "conv_x", "nothing", ""])
    assert found == {"conv": (network.conv, 0), "conv_1": (network.conv, 1), "conv_12": (network.conv, 12)}


def test_no_hook_stays_behind_whatever_happens():
    network = own.TupleInside().eval()
    for taps, expected in (([Tap("conv")], None), ([Tap("pair")], UserError)):
        function = hooked(network, taps, None)
        if expected is None:
            function(torch.rand(2, 3, 8, 8))
        else:
            with pytest.raises(expected):
                function(torch.rand(2, 3, 8, 8))
        assert not any(module._forward_hooks for module in network.modules())
