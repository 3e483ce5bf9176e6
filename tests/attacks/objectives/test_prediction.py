import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.objectives import CrossEntropy, NeighborPrediction, SoftKNN
from lit_knn.errors import UserError
from tests.attacks.objectives.conftest import struck


def attacked(attack_target, objective):
    attack = PGD(steps=3, objective=objective)
    return struck(attack, attack_target, 0.1)


def test_with_respect_to_the_query_it_is_pgd_bit_for_bit(attack_target):
    found = attacked(attack_target, NeighborPrediction(reading="grad_x"))
    assert torch.equal(found, attacked(attack_target, CrossEntropy()))
    assert not torch.equal(found, attacked(attack_target, NeighborPrediction()))


def test_as_printed_the_neighbors_add_a_constant_direction(attack_target, slope):
    """Against autograd on each neighbor alone."""
    gamma, surrogate_defense = 0.3, attack_target.defense
    neighbors = surrogate_defense.images(
        surrogate_defense.neighbors(attack_target.image, 5, exclude_self=True), attack_target.image
    )
    constant = torch.stack([slope(attack_target.cross_entropy, neighbors[:, k]) for k in range(5)]).sum(0)
    score = NeighborPrediction(gamma=gamma).bind(attack_target)
    for image in (attack_target.image, (attack_target.image + 0.1 * torch.rand_like(attack_target.image)).clamp(0, 1)):
        expected = slope(attack_target.cross_entropy, image) + gamma * constant
        torch.testing.assert_close(slope(score, image), expected, rtol=1e-8, atol=1e-10)


def test_sharing_the_perturbation_is_the_loss_of_moved_neighbors(attack_target, slope):
    surrogate_defense = attack_target.defense
    neighbors = surrogate_defense.images(
        surrogate_defense.neighbors(attack_target.image, 5, exclude_self=True), attack_target.image
    )

    def explicit(image):
        moved = [attack_target.cross_entropy(neighbors[:, k] + image - attack_target.image) for k in range(5)]
        return attack_target.cross_entropy(image) + 0.3 * torch.stack(moved).sum(0)

    score = NeighborPrediction(reading="shared_delta", gamma=0.3).bind(attack_target)
    image = (attack_target.image + 0.1 * torch.rand_like(attack_target.image)).clamp(0, 1)
    torch.testing.assert_close(score(image), explicit(image))
    torch.testing.assert_close(slope(score, image), slope(explicit, image), rtol=1e-8, atol=1e-10)


def test_as_printed_it_is_the_shared_perturbation_to_first_order(attack_target, slope):
    shared, printed = (NeighborPrediction(reading=reading, gamma=0.3) for reading in ("shared_delta", "literal"))
    torch.testing.assert_close(
        shared.bind(attack_target)(attack_target.image), printed.bind(attack_target)(attack_target.image)
    )
    torch.testing.assert_close(
        slope(shared.bind(attack_target), attack_target.image), slope(printed.bind(attack_target), attack_target.image)
    )


def test_the_neighbors_cost_once_for_all_radii_restarts_and_steps(by_hand):
    points, rows = torch.rand(24, 3, generator=torch.Generator().manual_seed(0)).split([4, 20])
    before = by_hand(points, rows, [0, 1] * 10, k=6)
    attack = PGD(steps=3, restarts=2, objective=NeighborPrediction())
    list(attack(before.model, before.image, before.label, before.ids, [0.05, 0.1], before.defense))
    radii, restarts, steps, neighbors = 2, 2, 3, 6  # the defense, which chooses, asks for no logits
    assert before.model.calls == neighbors + radii * restarts * steps


def test_retrieval_adds_the_soft_vote(attack_target):
    found = NeighborPrediction(reading="retrieval", gamma=0.5).bind(attack_target)(attack_target.image)
    expected = attack_target.cross_entropy(attack_target.image) + 0.5 * SoftKNN().bind(attack_target)(
        attack_target.image
    )
    torch.testing.assert_close(found, expected)


def test_settings():
    with pytest.raises(UserError, match="shared_delta"):
        NeighborPrediction(reading="other")
    with pytest.raises(UserError, match="gamma"):
        NeighborPrediction(gamma=-1)
