"""What every attack of the package keeps; a new one is found by itself."""

import numpy as np
import pytest
import torch
from torch import nn

from lit_knn.attacks import APGD, FGSM, PGD, Attack, RandomNoise
from lit_knn.attacks.objectives import Margin
from lit_knn.randomness import Randomness
from lit_knn.threat_models.budget import BUDGETS
from tests.conformance import examples

SMALL = {
    "APGD": {"steps": 4},
    "CWL2": {"steps": 5, "binary_search_steps": 2, "step_size": 0.1},
    "FMN": {"steps": 6},
    "GradientDescent": {"steps": 2},
    "IFGSM": {"steps": 3},
    "PGD": {"steps": 3},
    "Square": {"queries": 10, "objective": Margin()},
}
ATTACKS = {
    **examples(Attack, SMALL),
    "FGSM-sign": FGSM(step="sign"),
    "M-DI-PGD": PGD(steps=3, restarts=2, momentum=1, diversity=0.5),
    "PGD-sign": PGD(steps=3, step="sign", restarts=2),
    "RandomNoise-2": RandomNoise(restarts=2),
    "FGSM-aside": FGSM(random_start=True),
    "PGD-aside": PGD(steps=3, random_start=True),
    "APGD-aside": APGD(steps=4, restarts=2, random_start=True),
}
DELTAS = [1e-3, 0.02, 0.06, 0.25, 0.7, 1.0]
each_attack = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
SIZES = {"l2": [0.01, 0.5, 3.0], "linf": [1 / 255, 8 / 255, 0.5]}
each_attack_in_other_norms = pytest.mark.parametrize(
    ("attack", "norm"),
    [
        pytest.param(attack, norm, id=f"{name}-{norm}")
        for name, attack in ATTACKS.items()
        for norm in SIZES
        if BUDGETS[norm].norm in attack.norms
    ],
)


@each_attack
def test_every_image_keeps_its_budget_and_its_range(attack, network, digits):
    image = digits[0].double().numpy()  # most pixels of a digit are 0 or 1, so clipping always plays a part
    for delta, found in zip(DELTAS, attack(network, *digits, DELTAS), strict=True):
        assert found.dtype == torch.float32
        assert not found.requires_grad
        assert found.min() >= 0
        assert found.max() <= 1
        difference = found.double().numpy() - image
        realized = np.sqrt((difference**2).sum((1, 2, 3)) / (image**2).sum((1, 2, 3)))
        assert (realized <= delta * (1 + 1e-5)).all()
        assert (realized > 0).all()


@each_attack_in_other_norms
def test_every_image_keeps_a_budget_in_another_norm(attack, norm, network, digits):
    digits[0][3] = 0  # of which no Δ is a share
    image = digits[0].double().numpy()
    for size, found in zip(SIZES[norm], attack(network, *digits, SIZES[norm], norm=norm), strict=True):
        assert found.min() >= 0
        assert found.max() <= 1
        difference = (found.double().numpy() - image).reshape(len(image), -1)
        realized = np.linalg.norm(difference, 2 if norm == "l2" else np.inf, axis=1)
        assert (realized <= size * (1 + 1e-6) + 2**-24).all()  # half a digit of a pixel of 1
        assert (np.delete(realized, 3) > 0).all()


@each_attack_in_other_norms
def test_batches_of_one_and_of_all_give_the_same_in_another_norm(attack, norm, network, digits):
    some, network = [part[:8] for part in (digits[0].double(), *digits[1:])], _Double(network).eval()
    (together,) = attack(network, *some, SIZES[norm][1:2], norm=norm)
    each = zip(*(part.split(1) for part in some), strict=True)
    apart = torch.cat([next(attack(network, *one, SIZES[norm][1:2], norm=norm)) for one in each])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-11)


@each_attack
def test_the_model_the_input_and_the_callers_gradient_mode_are_untouched(attack, network, digits):
    state = {name: value.clone() for name, value in network.state_dict().items()}
    image = digits[0].clone()
    network[0].weight.requires_grad_(True)  # even where the caller forgot to freeze
    try:
        with torch.no_grad():
            for _ in attack(network, *digits, (0.02, 0.06)):
                assert not torch.is_grad_enabled()
        assert network[0].weight.grad is None
        assert network[0].weight.requires_grad
        assert not any(value.requires_grad for value in list(network.parameters())[1:])
    finally:
        network[0].weight.requires_grad_(False)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(image, digits[0])
    assert not digits[0].requires_grad


@each_attack
def test_batches_of_one_and_of_eight_give_the_same(attack, network, digits):
    image, label, id = (part[:16] for part in digits)
    image, network = image.double(), _Double(network).eval()
    together, apart = (
        torch.cat([found for rows in torch.arange(16).split(size) for found in
                   attack(network, image[rows], label[rows], id[rows], [0.06])])
        for size in (8, 1)
    )  # fmt: skip
    assert together.dtype == torch.float64
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-11)


@each_attack
def test_each_budget_is_attacked_as_if_it_were_alone_and_nothing_is_drawn_twice(attack, network, digits, monkeypatch):
    drawn = []
    each = Randomness._each
    monkeypatch.setattr(Randomness, "_each", lambda self, draw: drawn.append(self) or each(self, draw))
    first, second = attack(network, *digits, [0.06, 0.02])
    both = len(drawn)
    (alone,) = attack(network, *digits, [0.02])
    assert torch.equal(second, alone)
    assert both == len(drawn) - both
    assert not torch.equal(first, second)


@each_attack
def test_it_says_what_it_costs(attack):
    assert "\n    Cost:\n" in type(attack).__doc__


@each_attack
def test_it_costs_about_the_passes_that_it_says(attack, network, digits):
    counted = []

    def model(image):
        counted.append(2 if image.requires_grad else 1)  # forward, and then backward
        return network(image)

    next(attack(model, *(part[:4] for part in digits), [0.06]))
    assert sum(counted) / 1.5 - 1 <= attack.passes <= sum(counted) * 1.5 + 1


class _Double(nn.Module):
    """The network in float64, without changing the fixture."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.state = {name: value.double() for name, value in network.state_dict().items() if value.is_floating_point()}

    def forward(self, image):
        return torch.func.functional_call(self.network, self.state, (image,))
