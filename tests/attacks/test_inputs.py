"""What no attack is defined for is refused when it is asked for, before the first image."""

import pytest
import torch

from lit_knn.attacks import CWL2, FGSM, PGD, Attack
from lit_knn.errors import UserError


@pytest.mark.parametrize("value", [-0.001, 1.001, torch.nan, torch.inf])
def test_images_outside_the_range_are_refused_at_once(value, network, digits):
    image, label, id = digits
    image[[2, 5], 0, 0, 0] = value
    with pytest.raises(UserError, match=rf"id {id[2]}, {id[5]} have pixels outside \[0, 1\]"):
        PGD()(network, image, label, id, [0.06])  # no image was asked for


def test_zero_images_are_refused(network, digits):
    digits[0][4] = 0
    with pytest.raises(UserError, match=rf"id {digits[2][4]} are zero"):
        PGD()(network, *digits, [0.06])


@pytest.mark.parametrize("delta", [0.0, -0.01, 1.01, float("nan"), float("inf")])
def test_budgets_outside_0_to_1_are_refused(delta, network, digits):
    with pytest.raises(UserError, match=r"outside \(0, 1\]"):
        PGD()(network, *digits, [0.06, delta])


def test_an_attack_is_made_for_l2_unless_it_says_otherwise(network, digits):
    class Mine(Attack):
        def prepare(self, attacked, objective, randomness):
            return lambda radius: attacked.image

    for attack in (CWL2(), Mine()):
        with pytest.raises(UserError, match=rf"^{attack.name} has no steps for norm: linf$"):
            attack(network, *digits, [8 / 255], norm="linf")
    with pytest.raises(UserError, match="norm: 'Linf' is unknown"):
        PGD()(network, *digits, [8 / 255], norm="Linf")


def test_inference_mode_is_refused(network, digits):
    with torch.inference_mode(), pytest.raises(UserError, match="inference_mode=False"):
        FGSM()(network, *digits, [0.06])
    with torch.inference_mode():
        image = digits[0].clone()
    with pytest.raises(UserError, match="inference_mode=False"):
        FGSM()(network, image, *digits[1:], [0.06])


def test_a_model_in_training_mode_is_refused(network, digits):
    network[1].train()
    try:
        with pytest.raises(UserError, match="training mode"):
            FGSM()(network, *digits, [0.06])
    finally:
        network.eval()


def test_shapes_and_types_that_do_not_fit_are_refused(network, digits):
    image, label, id = digits
    for wrong in (image[0], image.half(), (image * 255).byte()):
        with pytest.raises(UserError, match="float32"):
            FGSM()(network, wrong, label, id, [0.06])
    with pytest.raises(UserError, match="labels"):
        FGSM()(network, image, label[1:], id, [0.06])
