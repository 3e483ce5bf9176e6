"""Neighbors' predictions to class scores, for many K and weightings at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_knn.database.store import NeighborPredictions


def coefficients(weights: Tensor, k: Sequence[int], *, among: Tensor | None = None) -> Tensor:
    """Return each neighbor's share of the vote when only the nearest k have one.

    Args:
        weights: ``(W, N, K)`` float, at least 0, one slice for each weighting, nearest neighbor first.
        k: Numbers of neighbors, each from 1 to K.
        among: ``(N, K)`` bool, which may have a share at all, at least one of the nearest; all by default.

    Returns:
        ``(len(k)·W, N, K)`` float, k by k; each row sums to 1. Where all k weights are zero (every neighbor's softmax
        is uniform) they share equally, and the gradient is zero: there the shares do not depend smoothly on them.
    """
    order = torch.arange(weights.shape[-1], device=weights.device)
    near = torch.stack([order < value for value in k]).to(weights)[:, None, None]  # (k, 1, 1, K)
    near = near if among is None else near * among  # (k, 1, N, K)
    masked = weights * near  # (k, W, N, K)
    total = masked.sum(dim=-1, keepdim=True)
    # division by 1 where it counts for nothing: 0 / 0 has a NaN gradient, even in the branch that is not taken
    shares = masked / torch.where(total > 0, total, 1)
    return torch.where(total > 0, shares, near / near.sum(dim=-1, keepdim=True)).flatten(0, 1)


def soft(shares: Tensor, predictions: NeighborPredictions) -> Tensor:
    """Return the weighted average of the neighbors' softmax vectors.

    Args:
        shares: ``(V, N, K)`` float, rows summing to 1.
        predictions: Of the same N queries. What a shortened row leaves of its probability is spread evenly over the
            classes that it does not list.

    Returns:
        ``(V, N, C)`` float.

    References:
        Dubey et al. 2019, Section 4 and Appendix C (SC).
    """
    probability, label, classes = predictions
    if label is None:
        return (shares.transpose(0, 1) @ probability).transpose(0, 1)  # (V, N, C)
    variants, queries, _ = shares.shape
    listed = probability.shape[-1]
    rest = (1 - probability.sum(dim=-1)) / max(classes - listed, 1)  # (N, K)
    above = (shares[..., None] * (probability - rest[..., None])).flatten(2)  # (V, N, K·R)
    base = (shares * rest).sum(dim=-1, keepdim=True)  # (V, N, 1)
    scores = base.expand(variants, queries, classes).clone()
    return scores.scatter_add_(2, label.flatten(1).expand(variants, -1, -1), above)


def hard(shares: Tensor, predictions: NeighborPredictions) -> Tensor:
    """Return each class's share of the votes, every neighbor voting for its most probable class.

    Args:
        shares: ``(V, N, K)`` float, rows summing to 1.
        predictions: Of the same N queries.

    Returns:
        ``(V, N, C)`` float.

    References:
        Dubey et al. 2019, Appendix C (HC).
    """
    variants, queries, _ = shares.shape
    scores = shares.new_zeros(variants, queries, predictions.num_classes)
    return scores.scatter_add_(2, predictions.classes().expand(variants, -1, -1), shares)
