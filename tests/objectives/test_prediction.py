import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.errors import UserError
from lit_knn.objectives import CrossEntropy, NeighborPrediction, SoftKNN


def attacked(victim, objective):
    attack = PGD(steps=3, objective=objective)
    return next(attack(victim.model, victim.image, victim.label, victim.id, [0.1], victim.replica))


def test_with_respect_to_the_query_it_is_pgd_bit_for_bit(victim):
    found = attacked(victim, NeighborPrediction(reading="grad_x"))
    assert torch.equal(found, attacked(victim, CrossEntropy()))
    assert not torch.equal(found, attacked(victim, NeighborPrediction()))


def test_as_printed_the_neighbours_add_a_constant_direction(victim, slope):
    """Against autograd on each neighbour alone."""
    gamma, replica = 0.3, victim.defense
    neighbors = replica.images(replica.neighbors(victim.image, 5, exclude_self=True), victim.image)
    constant = torch.stack([slope(victim.cross_entropy, neighbors[:, k]) for k in range(5)]).sum(0)
    score = NeighborPrediction(gamma=gamma).bind(victim)
    for image in (victim.image, (victim.image + 0.1 * torch.rand_like(victim.image)).clamp(0, 1)):
        expected = slope(victim.cross_entropy, image) + gamma * constant
        torch.testing.assert_close(slope(score, image), expected, rtol=1e-8, atol=1e-10)


def test_sharing_the_perturbation_is_the_loss_of_moved_neighbours(victim, slope):
    replica = victim.defense
    neighbors = replica.images(replica.neighbors(victim.image, 5, exclude_self=True), victim.image)

    def explicit(image):
        moved = [victim.cross_entropy(neighbors[:, k] + image - victim.image) for k in range(5)]
        return victim.cross_entropy(image) + 0.3 * torch.stack(moved).sum(0)

    score = NeighborPrediction(reading="shared_delta", gamma=0.3).bind(victim)
    image = (victim.image + 0.1 * torch.rand_like(victim.image)).clamp(0, 1)
    torch.testing.assert_close(score(image), explicit(image))
    torch.testing.assert_close(slope(score, image), slope(explicit, image), rtol=1e-8, atol=1e-10)


def test_as_printed_it_is_the_shared_perturbation_to_first_order(victim, slope):
    shared, printed = (NeighborPrediction(reading=reading, gamma=0.3) for reading in ("shared_delta", "literal"))
    torch.testing.assert_close(shared.bind(victim)(victim.image), printed.bind(victim)(victim.image))
    torch.testing.assert_close(slope(shared.bind(victim), victim.image), slope(printed.bind(victim), victim.image))


def test_the_neighbours_cost_once_for_all_radii_restarts_and_steps(by_hand):
    points, rows = torch.rand(24, 3, generator=torch.Generator().manual_seed(0)).split([4, 20])
    before = by_hand(points, rows, [0, 1] * 10, k=6)
    attack = PGD(steps=3, restarts=2, objective=NeighborPrediction())
    list(attack(before.model, before.image, before.label, before.id, [0.05, 0.1], before.defense))
    radii, restarts, steps, neighbors = 2, 2, 3, 6  # the defense, which chooses, asks for no logits
    assert before.model.calls == neighbors + radii * restarts * steps


def test_retrieval_adds_the_soft_vote(victim):
    found = NeighborPrediction(reading="retrieval", gamma=0.5).bind(victim)(victim.image)
    expected = victim.cross_entropy(victim.image) + 0.5 * SoftKNN().bind(victim)(victim.image)
    torch.testing.assert_close(found, expected)


def test_settings():
    with pytest.raises(UserError, match="shared_delta"):
        NeighborPrediction(reading="other")
    with pytest.raises(UserError, match="gamma"):
        NeighborPrediction(gamma=-1)
