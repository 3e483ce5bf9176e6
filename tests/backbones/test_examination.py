import pytest
import torch

from lit_knn.backbones import examination
from lit_knn.backbones.examination import agree, examine, tolerance
from lit_knn.backbones.taps import Tap
from lit_knn.backbones.tracing import Trace
from lit_knn.errors import UserError
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
    assert examine(network, None, image, [], None) == (10, False, True, False, "")
    trace = Trace(network)
    trace._root.network.fc = torch.nn.Linear(7, 10)
    assert "raises RuntimeError" in examine(network, trace, image, [], None).objection


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_probabilities_are_told_from_logits(dtype):
    image, head = torch.randn(3, 3, 8, 8, dtype=dtype), torch.nn.Linear(192, 1000, dtype=dtype)
    for last, expected in ((torch.nn.Softmax(1), True), (torch.nn.LogSoftmax(1), False), (torch.nn.Sigmoid(), False)):
        network = torch.nn.Sequential(torch.nn.Flatten(), head, last)
        found = examine(network, None, image, [], None)
        assert found.probabilities is expected
        assert any("returns probabilities" in caution for caution in found.cautions()) is expected


@pytest.mark.parametrize("batch", [2, 3, 6])
def test_what_depends_on_the_other_images_is_noticed(batch):
    contrast = torch.arange(1.0, batch + 1).view(-1, 1, 1, 1)
    image = torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * contrast
    torch.manual_seed(0)
    together, small = own.Together().eval(), own.Small().eval()
    assert examine(small, None, image, [Tap("conv")], None).alone
    assert examine(together, None, image, [], None).alone == (batch == 2)  # fewer than these are not compared
    if batch > 2:
        with pytest.raises(UserError, match="'conv': the activation of an image depends on the others"):
            examine(together, None, image, [Tap("conv")], None)


def test_as_many_tokens_as_images_are_no_images():
    network, image = own.Encoder(batch_first=False).eval(), torch.randn(16, 3, 8, 8)
    with pytest.raises(UserError, match=r"'encoder' gives a float32 tensor \(16, 2, 8\) for 2 images"):
        examine(network, None, image, [Tap("encoder")], None)


def test_a_network_that_changes_itself_is_refused():
    with pytest.raises(UserError, match="changes its own 'seen' when it answers"):
        examine(own.Remembering().eval(), None, torch.rand(3, 3, 8, 8), [], None)
    with pytest.raises(UserError, match="changes its own 'n' when it answers"):  # and draws no random numbers
        examine(own.Growing().eval(), None, torch.rand(3, 3, 8, 8), [], None)
    assert not examine(own.Caching().eval(), None, torch.rand(3, 3, 8, 8), [], None).randomized


def test_what_a_state_dict_makes_anew_is_no_change():
    assert examine(own.Saving().eval(), None, torch.rand(3, 3, 8, 8), [], None).num_classes == 10


@pytest.mark.parametrize("hidden", [own.InAList, own.InAClosure])
def test_parameters_that_are_not_registered_are_refused(hidden):
    """No fingerprint has them: a store of other weights would be searched without a word."""
    with pytest.raises(UserError, match=r"computes with a parameter \(.*\) that is not registered"):
        examine(hidden().eval(), None, torch.rand(3, 3, 8, 8), [], None)


@pytest.mark.parametrize(("products", "more"), [("convolutions", True), ("none", False)])
def test_the_few_digits_of_tf32_are_no_difference(products, more, monkeypatch):
    monkeypatch.setattr(examination, "rounded_products", lambda device: products)
    share = tolerance(torch.float32, torch.device("cuda"))
    assert (share > 2**-10) == more  # a step of its digits
    assert tolerance(torch.bfloat16, torch.device("cuda")) > 2**-8
