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
    # where an image is flat, the first gradient is taken twice; both runs are judged by the same draws
    assert len(repeated) == drawn + 1 - EXPECTED.draws - EXPECTED.evaluations


class Lucky(Defense):
    """The network, but each answer about a class is shifted by chance: a draw tells nothing of the image."""

    variants = [Variant("lucky")]  # noqa: RUF012

    def __init__(self, spread, true):
        self.spread, self.true, self.answers = spread, true, 0

    def __call__(self, query):
        self.answers += len(query.image)
        logits = query.classify(query.image).clone()
        logits[:, self.true] -= self.spread * query.randomness("luck").normal(logits[:, self.true])
        return logits[None]


@pytest.fixture
def attacked_of_one_class(network, digits):
    """Attack digits of one class behind a defense whose luck has some spread; return images and number of answers."""
    network, rows = copy.deepcopy(network).double(), digits[1] == 3
    network.randomized = False  # as a Classifier says
    image, label, ids = digits[0][rows].double(), digits[1][rows], digits[2][rows]

    def call(attack, spread, transfer=False):
        defense = Lucky(spread, 3)
        defense.random = spread > 0
        surrogate = SurrogateDefense(network, defense)
        (found,) = attack.attempts(network, image, label, ids, [0.3], surrogate, transfer=transfer)
        return found.image, defense.answers / len(image)

    return call


@pytest.mark.parametrize("objective", [DefenseMargin(), EOT(objective=DefenseMargin())], ids=["alone", "averaged"])
@pytest.mark.parametrize("enough", [None, 0])
def test_a_search_is_led_by_what_is_expected_and_not_by_luck(objective, enough, attacked_of_one_class):
    """The best candidate is that of the defense without luck: exactly, as all of them meet the same draws."""
    attack = Square(queries=40, objective=objective, enough=enough)
    expected, answers = attacked_of_one_class(attack, 0.0, transfer=True)
    assert answers == 41
    found, answers = attacked_of_one_class(attack, 30.0)
    assert answers == 10 * 41  # `enough` ends nothing: the next answer may be another one
    assert torch.equal(found, expected)
    assert (found - attacked_of_one_class(Square(queries=1), 0.0)[0]).abs().max() > 0.1


def test_a_search_stops_where_nothing_is_drawn_with_the_mean_as_without(attacked_of_one_class):
    alone, averaged = (
        attacked_of_one_class(Square(queries=40, objective=objective, enough=0), 0.0)
        for objective in (DefenseMargin(), EOT(objective=DefenseMargin()))
    )
    assert torch.equal(alone[0], averaged[0])
    assert alone[1] == averaged[1] < 41


def test_restarts_are_chosen_by_what_is_expected_and_not_by_luck(attacked_of_one_class):
    noise = RandomNoise(restarts=9, objective=DefenseMargin())
    expected, answers = attacked_of_one_class(noise, 0.0)
    assert answers == 9
    found, answers = attacked_of_one_class(noise, 30.0)
    assert torch.equal(found, expected)
    assert answers == 9 * 20


def test_what_keeps_its_highest_value_goes_by_means_and_what_follows_gradients_need_not(attacked_of_one_class):
    assert attacked_of_one_class(APGD(steps=3, objective=DefenseMargin()), 1.0)[1] == 10 * 4
    assert attacked_of_one_class(PGD(steps=3, objective=DefenseMargin()), 1.0)[1] == 3
