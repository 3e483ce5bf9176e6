"""Which images an attack never had a gradient of."""

import pytest
import torch

from lit_knn.attacks import APGD, CWL2, FGSM, FMN, IFGSM, PGD, RandomNoise, Square
from lit_knn.attacks.objectives import EOT, CrossEntropy, GuidedNeighbors, Margin, Objective

GRADIENT = [
    *(FGSM(), IFGSM(steps=2), PGD(steps=2), PGD(steps=2, random_start=True), PGD(steps=2, restarts=2), APGD(steps=3)),
    PGD(steps=2, momentum=1),
    *(CWL2(steps=4, binary_search_steps=2), CWL2(mode="paper", steps=4, binary_search_steps=2), FMN(steps=4)),
    PGD(steps=1, objective=EOT(objective=Margin(), draws=2, evaluations=10)),
]
FREE = [RandomNoise(), Square(queries=3, objective=Margin())]


def flat(attack, network, digits, *deltas):
    return [attempt.flat.tolist() for attempt in attack.attempts(network, *digits, deltas)]


@pytest.fixture
def dark_rounded(network):
    """The network, which rounds dark images: a step that has a gradient, and it is zero."""

    def forward(image):
        dark = (image.mean((1, 2, 3)) < 0.3)[:, None, None, None]
        return network(torch.where(dark, (image * 4).round() / 4, image))

    return forward


@pytest.fixture
def mixed(digits):
    """Digits that stay dark, or bright, wherever an attack of 3 % leads, and labels of which some are wrong."""
    image, label, id = digits
    far = (image.mean((1, 2, 3)) - 0.3).abs() > 0.02
    label = torch.where(id % 3 == 0, (label + 1) % 10, label)
    return image[far], label[far], id[far]


@pytest.mark.parametrize("attack", GRADIENT, ids=lambda attack: attack.name)
def test_the_images_without_a_gradient_are_told_in_any_batch_and_at_any_delta(attack, network, dark_rounded, mixed):
    image = mixed[0]
    dark = (image.mean((1, 2, 3)) < 0.3).tolist()
    assert 0 < sum(dark) < len(dark)
    assert flat(attack, dark_rounded, mixed, 0.01, 0.03) == [dark, dark]
    assert flat(attack, dark_rounded, mixed, 0.03) == [dark]
    assert flat(attack, dark_rounded, [part[:5] for part in mixed], 0.03) == [dark[:5]]
    assert flat(attack, network, mixed, 0.03) == [[False] * len(dark)]


@pytest.mark.parametrize("attack", FREE, ids=lambda attack: attack.name)
def test_who_takes_no_gradient_misses_none(attack, dark_rounded, mixed):
    assert not any(flat(attack, dark_rounded, mixed, 0.03)[0])


def test_each_delta_is_told_by_its_own_gradients(network, digits):
    """Flat within 5 % of the images, where the small Δ stays, whichever others are attacked along with it."""
    image = digits[0]

    def forward(changed):
        moved = (changed - image).flatten(1).norm(dim=1) / image.flatten(1).norm(dim=1)
        return network(torch.where((moved < 0.05)[:, None, None, None], changed.round(), changed))

    attack, far = PGD(steps=2, step_size=1), [False] * len(image)
    assert flat(attack, forward, digits, 0.02, 0.4, 0.03) == [[True] * len(image), far, [True] * len(image)]
    assert flat(attack, forward, digits, 0.4) == [far]


def test_a_saturated_softmax_is_flat_and_its_margin_is_not(network, digits):
    def sure(image):
        return 1e4 * network(image)

    assert sum(flat(PGD(steps=1), sure, digits, 0.01)[0]) > 100
    assert not any(flat(PGD(steps=1, objective=Margin()), sure, digits, 0.01)[0])


def test_an_objective_at_its_highest_has_nothing_left_to_climb(network, digits):
    class Satisfied(Objective):
        highest = 0.0

        def bind(self, attack_target, target=0):
            return lambda image: -torch.relu(attack_target.cross_entropy(image) * 0) - (attack_target.ids % 2)

    assert GuidedNeighbors.highest == EOT(objective=GuidedNeighbors()).highest == 0
    assert CrossEntropy.highest == torch.inf
    odd = (digits[2] % 2 == 1).tolist()
    assert flat(PGD(steps=1, objective=Satisfied()), network, digits, 0.01) == [odd]
