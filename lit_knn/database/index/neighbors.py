"""What a search returns, and how the answers of several searches become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Neighbors(NamedTuple):
    """The K nearest rows of N queries, nearest first; of equally near ones the lower id goes first.

    Attributes:
        ids: ``(N, K)`` int64, rows of the store; −1 where a share of them has fewer than K.
        distances: ``(N, K)`` float32, Euclidean, in units of the features, infinite beside −1. Those of an exact search
            are correctly rounded; of any other they are approximate, and near 0 a copy may be 1e-3 of its length away.
    """

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]

    @classmethod
    def none(cls, queries: int, k: int) -> Neighbors:
        """Return what ``queries`` know before any row has been compared: −1 and infinity, ``(queries, k)``."""
        return cls(np.full((queries, k), -1), np.full((queries, k), np.inf, np.float32))


def nearest(found: Sequence[Neighbors], k: int) -> Neighbors:
    """Merge what the same queries ``(..., K)`` found in different rows; the lower id goes first of equally near ones.

    So neither the order of ``found`` nor how the rows were shared out matters.
    """
    ids, distances = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    order = np.lexsort((ids, distances), axis=-1)[..., :k]
    return Neighbors(np.take_along_axis(ids, order, -1), np.take_along_axis(distances, order, -1))
