from dataclasses import replace
from functools import partial

import pytest
import torch

from lit_knn.attacks.gradient import gradient, require_step
from lit_knn.backbones import Classifier
from lit_knn.defenses import BitDepth, TransformedClassifier
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.surrogate_defense import SurrogateDefense
from tests.conftest import NETWORK


@pytest.fixture
def attack_target():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 3, 4, 4, dtype=torch.float64, generator=generator)
    return AttackTarget(
        lambda image: image.flatten(1), image, torch.zeros(3, dtype=torch.int64), torch.tensor([5, 6, 7])
    )


def test_the_gradient_of_each_image_by_hand(attack_target):
    value, ascent = gradient(attack_target, lambda image: (image**3).sum((1, 2, 3)), attack_target.image)
    torch.testing.assert_close(value, (attack_target.image**3).sum((1, 2, 3)))
    torch.testing.assert_close(ascent, 3 * attack_target.image**2)
    assert not value.requires_grad
    assert not ascent.requires_grad


def test_what_has_no_gradient_or_an_infinite_one_is_refused(attack_target):
    with pytest.raises(UserError, match=r"no gradient.*Square"):
        gradient(attack_target, lambda image: image.detach().sum((1, 2, 3)), attack_target.image)
    poles = torch.tensor([1.0, torch.inf, 1.0], dtype=torch.float64)
    _, ascent = gradient(attack_target, lambda image: image.sum((1, 2, 3)) * poles, attack_target.image)
    assert torch.equal(ascent, torch.tensor([1.0, 0, 1], dtype=torch.float64).view(-1, 1, 1, 1).expand(3, 3, 4, 4))
    with pytest.raises(UserError, match=r"gradient .* not finite for the images with id 6$"):
        attack_target.require_finite()


def test_the_network_without_a_gradient_is_named(attack_target):
    named = replace(attack_target, model=Classifier(**NETWORK, name="mine"))
    behind = replace(
        named, surrogate_defense=SurrogateDefense(named.model, TransformedClassifier(transformation=BitDepth(bits=3)))
    )
    for weight in (torch.ones(()), torch.ones((), requires_grad=True)):  # which has a gradient, but the image has none
        objective = partial(lambda weight, image: image.detach().sum((1, 2, 3)) * weight, weight)
        with pytest.raises(UserError, match=r"^network mine has no gradient; .*Square"):
            gradient(named, objective, attack_target.image)
        with pytest.raises(UserError, match=r"^network mine, or defense 3-bit of it, has no gradient"):
            gradient(behind, objective, attack_target.image)


def test_unknown_steps():
    with pytest.raises(UserError, match="sign, l2 and null are accepted"):
        require_step("linf")
