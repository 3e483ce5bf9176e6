"""Which images an attack goes on with, and what those that leave cost and are."""

from copy import deepcopy

import pytest
import torch

from lit_knn.attacks import APGD, PGD, Attack, Square
from lit_knn.attacks.objectives import Bound, CrossEntropy, FeatureSpace, Margin, TargetedDLR, margin
from lit_knn.attacks.remaining import Remaining
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget

ATTACKS = [
    PGD(steps=8, enough=0),
    PGD(steps=8, enough=0, momentum=1, random_start=True),
    PGD(steps=3, enough=0, restarts=3),
    APGD(steps=8, enough=0),
    APGD(steps=6, enough=0, objective=TargetedDLR(targets=3)),
    Square(queries=200, enough=0, objective=Margin()),
    Square(queries=150, enough=0, objective=CrossEntropy(), restarts=2),
]
DELTA = 0.08  # where some digits fall, some late, and some stand
each_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)


@pytest.fixture
def exact(network):
    return deepcopy(network).double()  # no rounding of a batch turns a step


@pytest.fixture
def some(digits):
    image, label, ids = (part[:24] for part in digits)
    return image.double(), label, ids


def attempt(attack, exact, some, **options):
    (found,) = attack.attempts(exact, *some, [DELTA], **options)
    return found


def unlimited(attack):
    """Return the same attack without an end before its last step."""
    other = type(attack).__new__(type(attack))
    other.__dict__ |= attack.__dict__ | {"enough": None}
    return other


@each_attack
def test_an_image_costs_and_is_the_same_in_any_batch(attack, exact, some):
    together = attempt(attack, exact, some)
    rows = list(range(0, len(some[0]), 3))
    alone = [attempt(attack, exact, tuple(part[[row]] for part in some)) for row in rows]
    torch.testing.assert_close(together.image[rows], torch.cat([one.image for one in alone]), rtol=0, atol=1e-5)
    assert torch.equal(together.passes[rows], torch.cat([one.passes for one in alone]))
    assert torch.equal(together.flat[rows], torch.cat([one.flat for one in alone]))


@each_attack
def test_what_stops_is_broken_and_what_stands_has_been_attacked_to_the_end(attack, exact, some):
    found, whole = attempt(attack, exact, some), attempt(unlimited(attack), exact, some)
    broken = margin(exact(found.image), some[1]) > 0
    stopped = found.passes.sum(dim=1) < whole.passes.sum(dim=1)
    assert stopped.any()
    assert (stopped <= broken).all()
    assert not broken.all()
    torch.testing.assert_close(found.image[~broken], whole.image[~broken], rtol=0, atol=1e-5)


@each_attack
def test_nothing_stops_that_is_made_for_another_network(attack, exact, some):
    found, whole = attempt(attack, exact, some, transfer=True), attempt(unlimited(attack), exact, some)
    assert torch.equal(found.image, whole.image)
    assert torch.equal(found.passes, whole.passes)


def test_gradient_steps_stop_at_the_first_wrong_answer(exact, some):
    image, label, ids = some
    found = attempt(PGD(steps=8, enough=0), exact, some)
    seen = []
    list(PGD(steps=8)(lambda image: seen.append(image.detach().clone()) or exact(image), image, label, ids, [DELTA]))
    wrong = torch.stack([exact(image).argmax(dim=1) != label for image in seen])  # (steps, N)
    first = wrong.long().argmax(dim=0)
    for row in range(len(image)):
        if wrong[:, row].any():
            torch.testing.assert_close(found.image[row], seen[first[row]][row], rtol=0, atol=1e-5)
            assert found.passes[row].tolist() == [first[row] + 1] * 2


def test_a_margin_asked_for_is_reached(exact, some):
    found = attempt(PGD(steps=8, enough=1.0), exact, some)
    early = attempt(PGD(steps=8, enough=0.0), exact, some)
    stopped = found.passes[:, 0] < 8
    assert (margin(exact(found.image), some[1])[stopped] > 1).all()
    assert (found.passes >= early.passes).all()
    assert (found.passes[:, 0] > early.passes[:, 0]).any()


def test_targets_and_restarts_end_with_the_last_image(exact, some):
    broken = attempt(PGD(steps=8, enough=0), exact, some).passes[:, 0] < 8
    fallen = tuple(part[broken] for part in some)
    calls = []
    attempt(PGD(steps=8, enough=0, restarts=9), lambda image: calls.append(1) or exact(image), fallen)
    assert len(calls) <= 8 + 1


class Brighter(Attack):
    """Brighten by a share of the radius, another one in each run."""

    def prepare(self, attacked, objective, randomness):
        return lambda radius: attacked.image + (0.5, 0.25, 1.0)[randomness.draw] * radius[:, None, None, None] / 48**0.5


@pytest.mark.parametrize(("enough", "kept"), [(None, 0.5), (0, 0.25)])
def test_a_broken_image_is_kept_though_another_has_a_higher_cross_entropy(enough, kept):
    lead = torch.tensor([[9.0, 0, 0], [2.1, 2.2, -9], [2.0, 1.99, 1.98], [9, 0, 0], [9, 0, 0]])  # at 0, 1/4, … of Δ
    entropy = -lead.log_softmax(dim=1)[:, 0]
    assert lead[1].argmax() == 1, "broken"
    assert entropy[1] < entropy[2], "though less than what is not"
    some = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64), torch.arange(2)
    attack = Brighter(restarts=3, enough=enough)
    (found,) = attack(lambda image: lead[(40 * image.mean((1, 2, 3)) - 20).round().long()], *some, [0.2])
    torch.testing.assert_close(found, some[0] + kept * 0.1)


def test_a_part_of_a_part_finds_its_place(exact, some):
    attacked = AttackTarget(exact, *some)
    left = Remaining(attacked, Bound(Margin().bind, attacked), 0)
    answers = torch.zeros(24, 10)
    state = torch.arange(24.0)
    for wrong in ([1, 5, 23], [0, 2]):  # positions in what is left
        attacked_now = left.attacked
        scores = torch.nn.functional.one_hot(attacked_now.label, 10).float()
        scores[wrong] = -scores[wrong]
        attacked_now.answer = lambda scores=scores: scores[None]
        (state,) = left.narrow(attacked_now.image + len(answers), state)
    assert state.tolist() == left.rows.tolist() == [row for row in range(24) if row not in (1, 5, 23, 0, 3)]
    left.attacked.note_flat(torch.zeros(19, dtype=torch.bool))
    assert attacked.take_flat()[0].nonzero().flatten().tolist() == [0, 1, 3, 5, 23]
    whole = left.whole(left.image)
    moved = (whole != attacked.image).flatten(1).any(dim=1)
    assert moved.nonzero().flatten().tolist() == [0, 1, 3, 5, 23]
    assert torch.equal(left.of(torch.arange(24)), left.rows)


@pytest.mark.parametrize("options", [{"enough": -1}, {"enough": 0, "objective": FeatureSpace()}])
def test_what_cannot_be_enough(options):
    with pytest.raises(UserError, match=r"enough: .* 0 or more, of objectives that give answers"):
        PGD(**options)
    with pytest.raises(UserError, match="diversity: an answer is then to another image"):
        PGD(enough=0, diversity=0.5)
