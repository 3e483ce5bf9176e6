"""What another library finds exactly, as `index.exact` would: the same distances, the same choice among equal ones.

The library is asked for more rows than are wanted. If the last of them is farther than the k-th by more than its
rounding can be, none of the k is missing; else it is asked for more still, and at last the rows are scanned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from lit_knn.database.index.exact import euclidean, margin
from lit_knn.database.index.neighbors import Neighbors, nearest

SPARE = 8  # rows beyond the k that are wanted
MOST = 2048  # rows that FAISS gives on a GPU
PAIRS = 1 << 16  # of a query and a row at a time

Find = Callable[[npt.NDArray[np.float32], int], Neighbors]  # features (N, D) and k to what is found, −1 beyond


def second_look(
    features: npt.NDArray[np.float32],
    k: int,
    *,
    find: Find,
    vectors: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]],
    scan: Find,
) -> Neighbors:
    """Return the k nearest rows of ``(N, D)`` features.

    Args:
        features: float32.
        k: How many.
        find: Asks the library, which looks at all rows and rounds as it likes.
        vectors: Returns the features ``(N, K, D)`` of rows ``(N, K)``.
        scan: Searches exactly.
    """
    ids, distances = Neighbors.none(len(features), k)
    left = np.arange(len(features))
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


def measured(
    queries: npt.NDArray[np.float32],
    ids: npt.NDArray[np.int64],
    vectors: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float32]],
) -> Neighbors:
    """Return the same rows with their true distances, infinite beside −1."""
    query, column = np.nonzero(ids >= 0)
    distances = np.full(ids.shape, np.inf, np.float32)
    for start in range(0, len(query), PAIRS):
        part = query[start : start + PAIRS], column[start : start + PAIRS]
        rows = vectors(ids[part])  # (P, D)
        pairs = (torch.from_numpy(one) for one in (queries, part[0], rows, np.arange(len(rows))))
        distances[part] = euclidean(*pairs).numpy()
    return Neighbors(ids, distances)


def _may_miss(
    queries: npt.NDArray[np.float32], rough: Neighbors, exact: Neighbors, farthest: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Return whether a row as near as the k-th may not have been given, ``(N,)``."""
    there = rough.ids >= 0
    squared, true = (np.square(np.where(there, part.distances, 0), dtype=np.float64) for part in (rough, exact))
    error = np.abs(squared - true)
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    expected = margin(queries.shape[1], 2 * lengths + farthest)  # a row as near is no longer than ‖q‖ and its distance
    seen = 4 * error.max(axis=1)  # where the library multiplies in less than float32
    missing: npt.NDArray[np.bool_] = squared[:, -1] - np.maximum(expected, seen) <= np.square(
        farthest, dtype=np.float64
    )
    return missing & there.all(axis=1)
