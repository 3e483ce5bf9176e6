"""The point of a convex hull that is nearest to a query, for many queries at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-10  # added to each squared distance, as a share of their mean: which weights, where several give the point
SIGN = 1e-10  # how far below 0 counts as below 0, as a share of the largest weight, or of the multiplier
PATIENCE = 3  # exchanges without progress before indices go in and out one by one
STEPS = 20  # of those for each of K indices, at most; some 2 for each index on the face are usual


class HullProjection(NamedTuple):
    """The nearest points of N convex hulls of K points each.

    Attributes:
        point: ``(N, D)`` in the dtype of the query; its gradient is that of the projection onto the face it lies on.
        weights: ``(N, K)`` float64, at least 0, with sum 1: ``point = weights @ vertices``. The same gradient.
        gap: ``(N,)`` float64, at least 0: half the squared distance to the point is within this of the smallest.
    """

    point: Tensor
    weights: Tensor
    gap: Tensor


def project_onto_hull(query: Tensor, vertices: Tensor) -> HullProjection:
    """Minimize ``½ ‖query − weights @ vertices‖²`` over weights of at least 0 with sum 1, exactly.

    With the vertices relative to the query as rows of A and ``H = A Aᵀ + ridge``, the weights are ``u / Σu``, where u
    is the solution of ``min ½ uᵀHu − Σu`` over ``u ≥ 0``: both have the same conditions of optimality. Which u are 0 is
    found by block principal pivoting, from none: guess, solve, exchange all that have the wrong sign. Queries for which
    that does not lessen them are solved by the active set of Lawson and Hanson, which ends after finitely many steps.
    All in float64, from one product ``A Aᵀ`` and a Cholesky decomposition of each guess, some five for most queries.
    The gap is that of Frank and Wolfe, of the problem without ridge.

    Cost:
        For each query K²·D operations once and K³/3 for each guess; K·D + K² numbers of float64. A GPU is waited for
        once a guess.

    Args:
        query: ``(N, D)`` float.
        vertices: ``(N, K, D)`` float, K from 1; they may coincide, lie in a plane, and be more than D.

    Returns:
        The points. The ridge adds less than 1e-10 of the vertices' mean squared distance to half the squared distance
        of the point, which is part of the gap. In float32 the point is rounded once, at the end.

    References:
        Kim and Park 2011, "Fast nonnegative matrix factorization: an active-set-like method and comparisons", Section
        3.2 (block principal pivoting); Lawson and Hanson 1974, Chapter 23; Jaggi 2013, Section 2 (gap).
    """
    relative = vertices.double() - query.double()[:, None]  # (N, K, D)
    products = relative @ relative.mT  # (N, K, K)
    scale = products.detach().diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]  # (N, 1, 1)
    scaled = products / torch.where(scale > 0, scale, 1)  # all vertices may be the query
    ridged = scaled + RIDGE * torch.eye(products.shape[1], dtype=products.dtype, device=products.device)
    with torch.no_grad():
        face = _face(ridged)  # (N, K)
    solved = (_on_face(ridged, face) * face).clamp_min(0)
    weights = solved / solved.sum(dim=1, keepdim=True)  # (N, K)
    point = query + (weights[:, None] @ relative)[:, 0].to(query)
    with torch.no_grad():
        slope = (products @ weights[..., None])[..., 0]  # (N, K), of half the squared distance
        gap = ((weights * slope).sum(dim=1) - slope.amin(dim=1)).clamp_min(0)
    return HullProjection(point, weights, gap)


def _on_face(matrix: Tensor, face: Tensor) -> Tensor:
    """Return the u ``(N, K)`` of ``(matrix u)_face = 1`` that are 0 elsewhere, of positive definite ``(N, K, K)``."""
    inside = face.to(matrix)
    masked = matrix * (inside[:, :, None] * inside[:, None]) + torch.diag_embed(1 - inside)
    return torch.cholesky_solve(inside[..., None], torch.linalg.cholesky_ex(masked).L)[..., 0]


def _face(matrix: Tensor) -> Tensor:
    """Return which of K numbers u are not 0 ``(N, K)`` bool where ``½ uᵀ matrix u − Σu`` is smallest over ``u ≥ 0``."""
    queries, k, _ = matrix.shape
    face = torch.ones(queries, k, dtype=torch.bool, device=matrix.device)
    fewest = torch.full((queries,), k + 1, device=matrix.device)
    patience = torch.full((queries,), PATIENCE, device=matrix.device)
    open_ = torch.arange(queries, device=matrix.device)  # which queries are exchanged further
    failed = []
    while len(open_):
        solved = _on_face(matrix[open_], face[open_])
        wrong = _wrong(matrix[open_], face[open_], solved)
        count = wrong.sum(dim=1)
        better = count < fewest[open_]
        fewest[open_] = torch.where(better, count, fewest[open_])
        patience[open_] = torch.where(better, PATIENCE, patience[open_] - 1)
        face[open_] ^= wrong
        failed.append(open_[patience[open_] < 0])
        open_ = open_[(count > 0) & (patience[open_] >= 0)]
    rest = torch.cat(failed) if failed else open_
    if len(rest):
        face[rest] = _one_by_one(matrix[rest])
    return face


def _wrong(matrix: Tensor, face: Tensor, solved: Tensor) -> Tensor:
    """Return which indices have a sign that is not theirs, ``(N, K)`` bool."""
    below = solved < -SIGN * solved.abs().amax(dim=1, keepdim=True)
    multiplier = (matrix @ solved[..., None])[..., 0] - 1  # 0 on the face
    return torch.where(face, below, multiplier < -SIGN)


def _one_by_one(matrix: Tensor) -> Tensor:
    """Return the same as `_face`, by the steps of Lawson and Hanson from u = 0: each lowers the objective."""
    queries, k, _ = matrix.shape
    face = torch.zeros(queries, k, dtype=torch.bool, device=matrix.device)
    order = torch.arange(k, device=matrix.device)
    at = torch.zeros(queries, k, dtype=matrix.dtype, device=matrix.device)
    for _ in range(STEPS * k):
        solved = _on_face(matrix, face)
        blocked = face & (solved <= 0)
        steps = torch.where(blocked, at / torch.where(blocked, at - solved, 1), torch.inf)
        length = steps.amin(dim=1, keepdim=True)  # to the border, infinite where none is in the way
        free = ~blocked.any(dim=1, keepdim=True)
        at = torch.where(free, solved, at + length * (solved - at)).clamp_min(0)
        face = face & ~(blocked & (steps <= length))
        at = at * face
        slope = 1 - (matrix @ at[..., None])[..., 0]
        rising = torch.where(face, -torch.inf, slope)
        best = rising.argmax(dim=1, keepdim=True)
        more = free & (rising.gather(1, best) > SIGN)
        if not (more | ~free).any():
            break
        face = face | (more & (order == best))
    return face
