"""An attack that breaks its promise is an error, never an accuracy."""

import pytest
import torch

from lit_knn.attacks import Attack, BudgetError
from lit_knn.errors import UserError


def attacked(attack, network, digits, *deltas):
    return list(attack(network, *digits, deltas))


class Greedy(Attack):
    """Breaks its budget in the way that it is given."""

    def __init__(self, cheat):
        super().__init__()
        self.cheat = cheat

    def prepare(self, attack_target, objective, randomness):
        return lambda radius: self.cheat(attack_target, radius)


@pytest.mark.parametrize(
    "cheat",
    [
        lambda attack_target, radius: attack_target.image * 0.5,
        lambda attack_target, radius: (
            attack_target.image + 1.01 * radius.view(-1, 1, 1, 1) / 192**0.5 * (1 - 2 * attack_target.image)
        ),
        lambda attack_target, radius: attack_target.image.copy_(
            1 - attack_target.image
        ),  # moves the center of the ball
    ],
)
def test_an_attack_that_breaks_its_budget_is_an_error_that_names_it(cheat, network, digits):
    image, label, id = digits
    image = (image > 0.5).float()  # so that the second cheat is exactly 1 % too long, with nothing clipped
    with pytest.raises(BudgetError, match=rf"Greedy perturbed .* id {id[0]}, .* budget is 0\.06"):
        list(Greedy(cheat)(network, image, label, id, [0.06]))


@pytest.mark.parametrize("wrong", [lambda image: image[:1], lambda image: image.double()])
def test_a_result_of_another_shape_or_type_is_an_error(wrong, network, digits):
    with pytest.raises(BudgetError, match="Greedy returned"):
        attacked(Greedy(lambda attack_target, radius: wrong(attack_target.image)), network, digits, 0.06)


def test_a_result_that_is_not_a_number_is_an_error(network, digits):
    with pytest.raises(UserError, match="result of Greedy is not finite"):
        attacked(Greedy(lambda attack_target, radius: attack_target.image * torch.nan), network, digits, 0.06)
