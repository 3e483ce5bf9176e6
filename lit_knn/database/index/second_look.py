"""What another library finds exactly, as `index.exact` would: the same distances, the same choice among equal ones.

The library is asked for more rows than are wanted. If the last of them is farther than the k-th by more than its
rounding can be, none of the k is missing; else it is asked for more still, and at last the rows are scanned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_knn.database.index.exact import euclidean, margin
from lit_knn.database.index.neighbors import Neighbors, nearest

SPARE = 8  # rows beyond the k that are wanted
MOST = 2048  # rows that FAISS gives on a GPU
PAIRS = 1 << 16  # of a query and a row at a time

Find = Callable[[Tensor, int], Neighbors]  # features (N, D) and k to what is found, −1 beyond
Vectors = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]]  # rows (P,) of a store to their features (P, D)


def second_look(
    features: Tensor,
    k: int,
    *,
    find: Find,
    vectors: Vectors,
    scan: Find,
) -> Neighbors:
    """Return the k nearest rows of ``(N, D)`` features.

    Args:
        features: float32, on the CPU.
        k: How many.
        find: Asks the library, which looks at all rows and rounds as it likes.
        vectors: Reads the features of rows.
        scan: Searches exactly.
    """
    ids, distances = Neighbors.none(len(features), k)
    left = torch.arange(len(features))
    for wanted in sorted({k + SPARE, max(k + SPARE, MOST)}):
        queries = features[left]
        rough = find(queries, wanted)
        exact = measured(queries, rough.ids, vectors)
        ids[left], distances[left] = nearest([exact], k)
        left = left[_may_miss(queries, rough, exact, distances[left, -1])]
        if not len(left):
            return Neighbors(ids, distances)
    ids[left], distances[left] = scan(features[left], k)
    return Neighbors(ids, distances)


def measured(queries: Tensor, ids: Tensor, vectors: Vectors) -> Neighbors:
    """Return the same rows with their true distances, infinite beside −1."""
    flat, distances = ids.flatten(), torch.full((ids.numel(),), torch.inf, dtype=torch.float32)
    for there in (flat >= 0).nonzero()[:, 0].split(PAIRS):
        rows = torch.from_numpy(vectors(flat[there].numpy()))
        distances[there] = euclidean(queries, there // ids.shape[1], rows)
    return Neighbors(ids, distances.view(ids.shape))


def _may_miss(queries: Tensor, rough: Neighbors, exact: Neighbors, farthest: Tensor) -> Tensor:
    """Return whether a row as near as the k-th may not have been given, ``(N,)`` bool."""
    squared, true = (part.distances.double().square_() for part in (rough, exact))
    last, farthest = squared[:, -1], farthest.double()
    lengths = queries.double().norm(dim=1)
    expected = margin(queries.shape[1], 2 * lengths + farthest)  # a row as near is no longer than ‖q‖ and its distance
    seen = 4 * (squared - true).abs_().amax(dim=1)  # where the library multiplies in less than float32
    return (last - torch.maximum(expected, seen) <= farthest.square()) & (rough.ids[:, -1] >= 0)  # all rows are there
