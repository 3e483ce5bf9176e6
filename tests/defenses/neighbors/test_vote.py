import numpy as np
import pytest
import torch

from lit_knn.database.store import NeighborPredictions
from lit_knn.defenses.neighbors.vote import coefficients, hard, soft

N, K, C, R = 7, 12, 30, 21


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    softmax = rng.dirichlet(np.full(C, 0.1), (N, K))
    softmax[0, :, 5:] = 0
    softmax[1, ::2, :2] = softmax[1, ::2].max(-1, keepdims=True)  # two winners
    softmax /= softmax.sum(-1, keepdims=True)
    return NeighborPredictions(torch.from_numpy(softmax), None, C)


@pytest.fixture
def weights():
    weights = np.random.default_rng(1).random((3, N, K))
    weights[2, 3] = 0
    weights[1, 4, :5] = 0
    return torch.from_numpy(weights)


def packed(predictions):
    order = np.argsort(-predictions.probability.numpy(), axis=-1, kind="stable")[..., :R]
    probability = np.take_along_axis(predictions.probability.numpy(), order, -1)
    return NeighborPredictions(torch.from_numpy(probability), torch.from_numpy(order), C)


def unpacked(predictions):
    rest = (1 - predictions.probability.numpy().sum(-1)) / (C - R)
    rows = np.repeat(rest[..., None], C, -1)
    np.put_along_axis(rows, predictions.label.numpy(), predictions.probability.numpy(), -1)
    return rows


def brute_force(rows, weights, k, combination):
    scores = np.zeros((N, C))
    for n in range(N):
        share = weights[n, :k] / weights[n, :k].sum() if weights[n, :k].sum() > 0 else np.full(k, 1 / k)
        for i in range(k):
            scores[n] += share[i] * (rows[n, i] if combination == "soft" else np.eye(C)[rows[n, i].argmax()])
    return scores


@pytest.mark.parametrize("k", [[12], [1, 5, 12]])
def test_soft_and_hard_votes_of_complete_rows(predictions, weights, k):
    shares = coefficients(weights, k)
    torch.testing.assert_close(shares.sum(-1), torch.ones(len(k) * 3, N, dtype=torch.float64))
    for name, combine in (("soft", soft), ("hard", hard)):
        scores = combine(shares, predictions).numpy()
        expected = [brute_force(predictions.probability.numpy(), w, v, name) for v in k for w in weights.numpy()]
        np.testing.assert_allclose(scores, expected, atol=1e-12)


def test_packed_rows_vote_like_their_unpacked_form(predictions, weights):
    short = packed(predictions)
    full = NeighborPredictions(torch.from_numpy(unpacked(short)), None, C)
    shares = coefficients(weights, [1, 12])
    for combine in (soft, hard):
        torch.testing.assert_close(combine(shares, short), combine(shares, full), atol=1e-12, rtol=0)
    torch.testing.assert_close(soft(shares, short).sum(-1), torch.ones(6, N, dtype=torch.float64))


def test_rows_no_longer_than_a_packed_one_have_no_rest():
    probability = torch.tensor([[[0.75, 0.25], [0.5, 0.5]]])
    label = torch.tensor([[[1, 0], [0, 1]]])
    shares = coefficients(torch.ones(1, 1, 2), [2])
    assert soft(shares, NeighborPredictions(probability, label, 2)).tolist() == [[[0.375, 0.625]]]


def test_weights_of_zero_everywhere_fall_back_to_equal_shares():
    shares = coefficients(torch.zeros(1, 1, 4), [2])
    assert shares.tolist() == [[[0.5, 0.5, 0, 0]]]


def test_gradients_of_shares(weights):
    """The exact ones where somebody has weight, zero where nobody has, and none that is not a number."""
    positive = (weights[:2, :3] + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda value: coefficients(value, [1, 5, 12]), positive)
    weights.requires_grad_()
    coefficients(weights, [12])[2, :, 0].sum().backward()
    assert weights.grad is not None
    assert bool(weights.grad.isfinite().all())
    assert not weights.grad[2, 3].any()
    assert weights.grad[2, 4].any()
