import math

import numpy as np
import pytest
import torch
from torch import nn

from lit_knn.backbones import Classifier, Ensemble
from lit_knn.errors import UserError
from tests.conftest import NETWORK


class Fixed(nn.Module):
    """Logits that depend on the image by a known slope."""

    def __init__(self, logits, slope=0.0):
        super().__init__()
        self.logits, self.slope = torch.tensor(logits), slope

    def forward(self, image):
        return self.logits + self.slope * image.mean((1, 2, 3))[:, None] * torch.tensor([1.0, 0, 0])


@pytest.fixture
def members():
    return [Classifier(**NETWORK), Classifier(**{**NETWORK, "std": [0.4] * 3, "name": "other"})]


def test_it_is_the_mean_probability_in_numpy(members):
    image = torch.rand(7, 3, 8, 8)
    logits = [member(image).double().numpy() for member in members]
    softmax = [np.exp(part) / np.exp(part).sum(1, keepdims=True) for part in logits]
    found = Ensemble(members)(image).exp()
    np.testing.assert_allclose(found, np.mean(softmax, axis=0), rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.sum(1), torch.ones(7))


def test_confident_members_that_disagree_stay_finite():
    """The mean of two certainties is a half for each; in float32 neither softmax has anything but 0 and 1."""
    ensemble = Ensemble([Fixed([500.0, 0.0, 0.0]), Fixed([0.0, 500.0, 0.0])])
    found = ensemble(torch.rand(1, 3, 2, 2))[0]
    torch.testing.assert_close(found, torch.tensor([-math.log(2), -math.log(2), -500.0]), rtol=1e-3, atol=1e-3)


def test_its_gradient_is_led_by_the_members_that_are_not_yet_fooled():
    ensemble = Ensemble([Fixed([0.0, 5.0, 0.0], slope=1.0), Fixed([5.0, 0.0, 0.0], slope=1.0)])
    image = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float32, requires_grad=True)
    (found,) = torch.autograd.grad(-ensemble(image)[0, 0], image)  # the loss of class 0
    fooled, right = (torch.softmax(m.logits + torch.tensor([0.5, 0, 0]), 0)[0] for m in ensemble.members)
    expected = -((fooled * (1 - fooled) + right * (1 - right)) / (fooled + right)) / 12
    torch.testing.assert_close(found, expected.expand_as(found))


def test_members_stay_frozen_and_move_with_it(members):
    holder = nn.ModuleList([Ensemble(members)]).double()
    assert all(value.dtype == torch.float64 for value in holder.state_dict().values() if value.is_floating_point())
    assert not any(parameter.requires_grad for parameter in holder.parameters())
    assert not any(module.training for module in Ensemble(members).modules())


def test_the_fingerprint_is_that_of_the_members_in_order(members):
    first, second = members
    assert Ensemble(members).fingerprint() == Ensemble([first, second]).fingerprint()
    others = [[second, first], [first], [first, first]]
    assert Ensemble(members).fingerprint() not in {Ensemble(other).fingerprint() for other in others}
    before = Ensemble(members).fingerprint()
    next(second.parameters()).add_(1)
    assert Ensemble(members).fingerprint() != before


def test_members_with_other_classes_are_refused():
    with pytest.raises(UserError, match="have 2 and 3 classes"):
        Ensemble([Fixed([1.0, 2.0, 3.0]), nn.Sequential(Fixed([1.0, 2.0, 3.0]), First())])(torch.rand(1, 3, 2, 2))


class First(nn.Module):
    """Two of the classes."""

    def forward(self, logits):
        return logits[:, :2]
