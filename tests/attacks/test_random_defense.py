"""Attacks on a copy that answers at random: draws belong to the image, the run and the call, and to nothing else."""

import copy

import pytest
import torch

from lit_knn.attacks import APGD, CWL2, FGSM, FMN, PGD, RandomNoise, Square
from lit_knn.attacks.objectives import EOT, DefenseMargin
from lit_knn.defenses import Defense, Query, Variant
from lit_knn.randomness import Randomness
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

EXPECTED = EOT(objective=DefenseMargin(), draws=2, evaluations=10)
ATTACKS = [
    FGSM(objective=DefenseMargin()),
    PGD(steps=3, restarts=2, objective=DefenseMargin()),
    PGD(steps=3, restarts=2, momentum=1, diversity=0.5, objective=DefenseMargin()),
    PGD(steps=2, restarts=2, objective=EXPECTED, name="mean"),
    APGD(steps=4, objective=EXPECTED),
    CWL2(mode="paper", steps=3, binary_search_steps=2, objective=DefenseMargin(), name="CW"),
    FMN(steps=4, objective=DefenseMargin()),
    RandomNoise(restarts=3, objective=DefenseMargin()),
    Square(queries=8, enough=0),
]


class Shaken(Defense):
    """The network behind noise, flat for dark images: a batch that has some takes another gradient."""

    variants = [Variant("shaken")]  # noqa: RUF012

    def __init__(self):
        self.seen = []

    def __call__(self, query):
        noise = query.randomness("noise").normal(query.image)
        self.seen.append(noise)
        dark = query.image.detach()[:, 0, 0, 0] == 0.5
        moved = query.image + 0.2 * noise
        return query.classify(torch.where(dark.view(-1, 1, 1, 1), moved.detach(), moved) + 0 * query.image)[None]


@pytest.fixture
def queries(digits):
    image, label, ids = (part[:9] for part in digits)
    image = image.double() * 0.8 + 0.1
    image[4, 0, 0, 0] = 0.5
    return image, label, ids


@pytest.fixture
def surrogate(network):
    return SurrogateDefense(copy.deepcopy(network).double(), Shaken())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_batches_order_and_other_sizes_do_not_matter(attack, surrogate, queries):
    image, label, ids = queries

    def attacked(rows, *deltas):
        return list(attack(surrogate.classifier, image[rows], label[rows], ids[rows], deltas, surrogate))

    small, large = attacked(slice(None), 0.1, 0.3)
    for rows in ([4], [2], [0, 1, 4, 5, 6, 7, 8], [8, 7, 6, 5, 3, 2, 1, 0]):
        torch.testing.assert_close(attacked(rows, 0.1, 0.3)[1], large[rows], rtol=0, atol=1e-9)
    (alone,) = attacked(slice(None), 0.3)
    assert torch.equal(alone, large)  # as where a run goes on, and the first size is known
    assert torch.equal(attacked(slice(None), 0.3, 0.1)[1], small)
    assert not torch.equal(small, large)


def test_no_two_calls_draw_alike_and_none_as_the_verdict_does(surrogate, queries):
    image, label, ids = queries
    attack = PGD(steps=3, restarts=2, objective=EXPECTED)
    list(attack(surrogate.classifier, image, label, ids, [0.3], surrogate))
    drawn = len(surrogate.defense.seen)
    assert drawn > 2 * 3 * 2 + 2 * 10
    surrogate.defense(Query(image, surrogate.classifier, randomness=Randomness(attack.seed, ids)))
    repeated = {tuple(noise[0].flatten().tolist()) for noise in surrogate.defense.seen}
    assert len(repeated) == drawn + 1 - EXPECTED.draws  # where an image is flat, the first gradient is taken twice
