"""Forward and backward passes of each attack: what its docstring says it costs, and what the network was asked."""

import pytest
import torch

from lit_knn.attacks import APGD, CWL2, FGSM, FMN, IFGSM, PGD, RandomNoise, Square
from lit_knn.attacks.objectives import EOT, MALT, Margin, TargetedDLR

COSTS = [
    (FGSM(), 1, 1),
    (FGSM(random_start=True), 1, 1),
    (IFGSM(steps=3), 3, 3),
    (PGD(steps=3), 3, 3),
    (PGD(steps=3, restarts=2, momentum=1, diversity=0.5), 2 * (3 + 1), 2 * 3),
    (PGD(steps=3, objective=EOT(objective=Margin(), draws=2)), 2 * 3, 2 * 3),
    (APGD(steps=4), 5, 5),
    (APGD(steps=4, objective=TargetedDLR(targets=2)), 1 + 2 * (5 + 1), 2 * 5),
    (APGD(steps=4, objective=MALT(targets=2, candidates=3)), 1 + 2 * (5 + 1), 3 + 2 * 5),
    (CWL2(steps=5, binary_search_steps=2), 1 + 10, 10),
    (FMN(steps=6), 6, 6),
    (RandomNoise(), 0, 0),
    (RandomNoise(restarts=2), 2, 0),
    (Square(queries=10, objective=Margin()), 11, 0),
]


@pytest.mark.parametrize(("attack", "forward", "backward"), COSTS, ids=lambda case: getattr(case, "name", ""))
def test_passes_are_what_the_attack_says_it_costs_at_any_delta(attack, forward, backward, network, digits):
    calls = []

    def model(image):
        calls.append(len(image))
        return network(image)

    (attempt,) = attack.attempts(model, *digits, [0.1])
    assert attempt.passes.tolist() == [[forward, backward]] * len(digits[0])
    assert len(calls) == forward
    several = attack.attempts(network, *digits, [0.02, 0.1])
    assert all(torch.equal(other.passes, attempt.passes) for other in several)


@pytest.mark.parametrize(("attack", "steps"), [(PGD(steps=3), 3), (FGSM(), 1), (APGD(steps=2), 3)])
def test_only_images_without_a_gradient_at_first_cost_another_one(attack, steps, network, digits):
    image, label, id = digits
    id = torch.arange(len(image))
    model = FlatAtFirst(network, image)
    (attempt,) = attack.attempts(model, image, label, id, [0.1])
    more = (id % 2 == 0).long()[:, None]
    assert torch.equal(attempt.passes, steps + more.expand(-1, 2))


class FlatAtFirst:
    """The network, rounding the clean images of even ids."""

    def __init__(self, network, image):
        self.network, self.image = network, image

    def __call__(self, image):
        even = torch.arange(len(image)) % 2 == 0
        flat = even & (image == self.image).flatten(1).all(dim=1)
        return self.network(torch.where(flat.view(-1, 1, 1, 1), image.detach(), image) + 0 * image)


def test_an_image_that_stops_early_costs_no_more(network, digits):
    (whole,), (early,) = (
        Square(queries=40, objective=Margin(), enough=enough).attempts(network, *digits, [0.3]) for enough in (None, 0)
    )
    assert (whole.passes == torch.tensor([41, 0])).all()
    assert (early.passes[:, 0] < 41).any()
    assert (early.passes <= whole.passes).all()
    broken = network(early.image).argmax(1) != digits[1]
    assert (early.passes[~broken, 0] == 41).all()
