import pytest
import torch

from lit_knn.backbones.class_order import ClassOrder
from lit_knn.errors import UserError


def test_logits_come_in_the_order_of_the_labels():
    logits = torch.randn(5, 7, requires_grad=True)
    assert ClassOrder(None)(logits) is logits
    order = ClassOrder([3, 0, 6])
    assert torch.equal(order(logits), logits[:, [3, 0, 6]])
    (gradient,) = torch.autograd.grad(order(logits).sum(), logits)
    assert torch.equal(gradient, torch.zeros(5, 7).index_fill_(1, torch.tensor([0, 3, 6]), 1))


def test_a_class_that_the_network_does_not_know_is_never_named():
    logits = torch.randn(5, 3)
    with torch.inference_mode():
        order = ClassOrder([None, 2, None, 0])
        order(logits)
    found = order(logits.requires_grad_())
    assert torch.equal(found[:, [1, 3]], logits[:, [2, 0]])
    assert found.isfinite().all()
    assert (found[:, [0, 2]] < logits.amin(dim=1, keepdim=True)).all()
    found.sum().backward()


def test_c_is_the_number_of_labels():
    assert ClassOrder(None).number(1000, "big") == 1000
    assert ClassOrder([1, None, 9]).number(10, "big") == 3
    with pytest.raises(UserError, match="network big has classes 0 to 8, but its `classes` name 9"):
        ClassOrder([1, None, 9]).number(9, "big")
    assert [str(ClassOrder(one)) for one in (None, [1, None, 2])] == ["", " classes [1, None, 2]"]


@pytest.mark.parametrize("classes", [[], [4], [4, None], [4, 4], [-1, 2]])
def test_lists_that_make_no_sense(classes):
    with pytest.raises(UserError, match="a list of different numbers from 0 is accepted, at least two"):
        ClassOrder(classes)
