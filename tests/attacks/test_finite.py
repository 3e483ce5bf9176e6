"""Numbers that are not finite: none is lost, and looking for them makes no step wait for the device."""

from copy import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lit_knn.attacks import APGD, CWL2, FMN, IFGSM, PGD, Square
from lit_knn.attacks.objectives import Margin, Objective
from lit_knn.errors import UserError


class Breaking(Objective):
    """A loss that is not a number once, at its third value, of one image."""

    def bind(self, attack_target, target=0):
        values = []

        def score(image):
            values.append(attack_target.cross_entropy(image))
            third = (len(values) == 3) & (attack_target.ids == attack_target.ids[3])
            return values[-1] * torch.where(third, torch.nan, 1.0)

        return score


LONG = [
    *(PGD(steps=9), PGD(steps=9, step="sign", random_start=True), IFGSM(steps=9), APGD(steps=9)),
    *(CWL2(steps=9, binary_search_steps=1), Square(queries=9), FMN(steps=9)),
]


@pytest.mark.parametrize("attack", LONG, ids=lambda attack: attack.name)
def test_one_step_of_many_that_is_not_a_number_is_not_lost(attack, network, digits):
    attack = copy(attack)
    attack.objective = Breaking()
    with pytest.raises(UserError, match=rf"not finite for the images with id {digits[2][3]}$"):
        next(attack(network, *digits, [0.06]))


class Waits(TorchDispatchMode):
    """Counts how often the host waits for a number from the device."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "attack",
    [PGD(), PGD(random_start=True), PGD(momentum=1, diversity=0.5), APGD(), FMN(), Square()],
    ids=lambda attack: attack.name,
)
def test_no_step_waits_for_the_device(attack, network, digits):
    counts = set()
    for steps in (3, 9):
        attack = copy(attack)
        attack.objective = Margin()
        attack.steps = attack.queries = steps
        with Waits() as waits:
            next(attack(network, *digits, [0.06]))
        counts.add(waits.count)
    assert len(counts) == 1
