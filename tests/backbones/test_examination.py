import pytest
import torch

from lit_knn.backbones.examination import agree, examine
from lit_knn.backbones.tracing import Trace
from tests.backbones import own_networks as own


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_agrees_and_another_answer_does_not(dtype):
    expected = torch.randn(4, 10, dtype=dtype)
    rounding = torch.finfo(dtype).eps * expected.abs().max()
    assert agree(expected + rounding, expected, dtype)
    assert not agree(expected.flip(0), expected, dtype)
    assert not agree(expected[:2], expected, dtype)
    broken = expected.clone()
    broken[0, 0] = torch.nan
    assert agree(broken, broken, dtype)
    assert not agree(broken, expected, dtype)


def test_classes_are_counted_and_a_graph_that_fails_is_no_network():
    network, image = own.Small().eval(), torch.rand(3, 3, 8, 8)
    assert examine(network, None, image, [], None) == (10, False, "")
    trace = Trace(network)
    trace._root.network.fc = torch.nn.Linear(7, 10)
    assert "raises RuntimeError" in examine(network, trace, image, [], None).objection
