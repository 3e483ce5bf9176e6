import numpy as np
import pytest
import torch

from lit_knn.attacks import PGD
from lit_knn.attacks.gradient import gradient
from lit_knn.attacks.objectives import ASK, DefenseMargin, FeatureSpace, GuidedNeighbors, SoftKNN, TargetCentroid
from lit_knn.database.store import NeighborPredictions
from lit_knn.defenses import CBWD, KNN, UW, Similarity
from lit_knn.errors import UserError
from tests.attacks.objectives.conftest import struck

SOFT = [Similarity(temperature=0.5), Similarity(similarity="euclidean", temperature=100.0)]  # an attacker's as well


@pytest.mark.parametrize("weighting", [CBWD(), *SOFT])
@pytest.mark.parametrize("combination", ["soft", "hard"])
def test_as_the_temperature_falls_it_becomes_the_defense(make_victim, combination, weighting):
    attack_target = make_victim(KNN(taps=["early"], k=[5], weightings=[weighting], combinations=[combination]))
    image = (attack_target.image + 0.4 * torch.rand_like(attack_target.image)).clamp(0, 1)
    cold = SoftKNN(temperature=1e-9)._scores(attack_target, image)
    torch.testing.assert_close(
        cold, attack_target.defense.scores(image).to(cold).clamp_min(1e-300), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("similarity", ["cosine", "euclidean"])
@pytest.mark.parametrize("temperature", [0.07, 1e-3])
def test_similarity_weighted_votes_hide_nothing(make_victim, similarity, temperature):
    """Soft retrieval survives a perturbation that changes most votes no better than the vote it is a variant of."""
    left = {}
    for weighting in (UW(), Similarity(similarity=similarity, temperature=temperature)):
        attack_target = make_victim(KNN(taps=["late"], k=[5], weightings=[weighting]), torch.float32, 50)
        found = struck(PGD(steps=20, objective=SoftKNN()), attack_target, 0.3)
        right = attack_target.defense.scores(found).argmax(1) == attack_target.label
        left[weighting.name] = float(right.float().mean())
    assert max(left.values()) <= 0.1, left


@pytest.mark.parametrize("tap", ["early", "late"])
def test_it_does_at_least_as_much_as_feature_space(make_victim, knn, tap):
    """What the issue asks of every attack that knows the defense."""
    attack_target = make_victim(knn(tap), torch.float32, 50)
    left = {}
    for objective in (SoftKNN(), GuidedNeighbors(m=20), TargetCentroid(), ASK(), FeatureSpace()):
        attack = PGD(steps=15, objective=objective)
        found = struck(attack, attack_target, 0.15)
        left[objective.suffix] = float(
            (attack_target.defense.scores(found).argmax(1) == attack_target.label).float().mean()
        )
    assert max(left.values()) == left["FS"], left


def test_guides_give_a_gradient_where_all_neighbors_agree(make_victim, knn, slope):
    attack_target = make_victim(knn("late", 1))
    near = attack_target.defense.nearest(attack_target.defense.features(attack_target.image), 1)
    assert (attack_target.defense.gallery.predictions(near).classes()[:, 0] == attack_target.label).any()
    assert (slope(SoftKNN(pool=1).bind(attack_target), attack_target.image).flatten(1).norm(dim=1) > 0).all()


def test_each_image_on_its_own(attack_target, part):
    together = SoftKNN().bind(attack_target)(attack_target.image)
    alone = torch.cat(
        [SoftKNN().bind(part(attack_target, [n]))(attack_target.image[[n]]) for n in range(len(attack_target.image))]
    )
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-9)
    assert (SoftKNN().bind(attack_target)(attack_target.image) < 0).sum() >= (
        DefenseMargin().bind(attack_target)(attack_target.image) < 0
    ).sum() - 2


@pytest.mark.parametrize("settings", [{"pool": 0}, {"exemplars": 0}, {"temperature": 0}])
def test_settings(settings):
    with pytest.raises(UserError, match="SoftKNN has pool"):
        SoftKNN(**settings)


# ---------------------------------------------------------------- points placed by hand

POINTS = (
    np.array(
        [[0, 0, 1], [0, 0, 2], [0, 2, 2], [3, 0, 0], [0, 3, 1], [6, 0, 0], [7, 0, 0], [0, 9, 0], [0, 8, 3], [9, 9, 9]]
    )
    / 10
)
VOTE = np.array([0, 0, 0, 0, 0, 1, 1, 2, 2, 2])
WEIGHT = np.array([1, 2, 3, 1, 0.5, 2, 1, 1, 4, 9])
SOFTMAX = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])[VOTE]


def defined(point, votes, *, c):
    """Return the scores by the definition: the eight nearest rows, both exemplars of each wrong class, K = 2."""
    squared = ((point - POINTS) ** 2).sum(1)
    order = np.argsort(squared)
    border = squared[order[1:3]].mean()
    exemplars = np.concatenate([order[VOTE[order] == wrong][:2] for wrong in (1, 2)])
    width = c * max(squared[order[1]] - squared[order[0]], squared[exemplars].min() - border)
    members = sorted({*order[:8].tolist(), *exemplars.tolist()})
    share = WEIGHT[members] / (1 + np.exp(-(border - squared[members]) / width))
    return share @ votes[members] / share.sum()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("combination", ["soft", "hard"])
def test_the_definition_in_numpy(by_hand, packed, combination):
    """A guide of the pool counts once; packed rows list one class and leave the rest to the two others."""
    points = np.array([[0.1, 0.1, 0.1], [0.52, 0.1, 0], [0, 0.7, 0.2]])
    votes, predictions = SOFTMAX, NeighborPredictions(torch.tensor(SOFTMAX).float(), None, 3)
    if packed:
        predictions = NeighborPredictions(
            torch.tensor(SOFTMAX.max(1, keepdims=True)).float(), torch.tensor(VOTE)[:, None], 3
        )
        votes = np.where(np.eye(3)[VOTE] > 0, SOFTMAX, (1 - SOFTMAX.max(1, keepdims=True)) / 2)
    if combination == "hard":
        votes = np.eye(3)[VOTE]
    before = by_hand(points, POINTS, VOTE, k=2, combination=combination, predictions=predictions, weights=WEIGHT)
    value = SoftKNN(pool=8, exemplars=2, temperature=0.4).bind(before)(before.image).numpy()
    scores = np.stack([defined(point, votes, c=0.4) for point in points])
    np.testing.assert_allclose(value, np.log(scores[:, 1:].max(1) / scores[:, 0]), rtol=1e-4)
    assert value[0] < 0 < value[1]  # among its own class, and next to another


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_far_class_pulls_though_the_neighborhood_is_small(by_hand, dtype):
    """At the neighborhood's own temperature the far row would count exp(−10⁴), which is nothing."""
    near = 0.01 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([near, torch.tensor([[1.0, 0, 0]])])
    before = by_hand([[0.005] * 3], rows, [0] * 50 + [1], k=5, combination="hard", dtype=dtype)
    value, ascent = gradient(before, SoftKNN(pool=20).bind(before), before.image)
    assert -50 < value.item() < 0
    assert ascent.flatten()[0] / ascent.norm() > 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_that_all_are_the_query_leave_a_finite_gradient(by_hand, dtype):
    before = by_hand([[0.5] * 3], np.full((18, 3), 0.5), [0, 1] * 9, k=3, dtype=dtype)
    value, ascent = gradient(before, SoftKNN().bind(before), before.image)  # raises where it is not finite
    assert value.isfinite().all()
    assert (ascent == 0).all()
