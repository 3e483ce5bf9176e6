"""How much of what exact search finds an index finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lit_knn.index.base import Index
from lit_knn.index.scan import Scan
from lit_knn.store import Store

QUERIES = 200


class Truth:
    """The exact neighbours of some rows of a store, without the rows themselves.

    Args:
        store: Where rows come from.
        tap: Which features.
        k: How many neighbours.
        queries: How many rows, chosen at random.
        seed: Of the choice.
    """

    def __init__(self, store: Store, tap: str, k: int, *, queries: int = QUERIES, seed: int = 0) -> None:
        self.k = min(k, len(store) - 1)
        rows = np.random.default_rng(seed).choice(len(store), min(queries, len(store)), replace=False)
        self._rows, self._features = np.sort(rows), store.features(tap, np.sort(rows))
        self._neighbors = self._others(Scan().open(store, tap, store.folder))

    def __len__(self) -> int:
        """Return how many rows are looked for."""
        return len(self._rows)

    def recall(self, index: Index) -> float:
        """Return which share of the true neighbours an opened index finds, 0 to 1."""
        found = self._others(index)
        shared = [np.isin(mine, true).sum() for mine, true in zip(found, self._neighbors, strict=True)]
        return float(np.mean(shared) / self.k)

    def _others(self, index: Index) -> npt.NDArray[np.int64]:
        """Return the k nearest rows ``(N, k)`` that are not the query itself, −1 where fewer are found."""
        ids = index.partial(self._features, self.k + 1).ids  # (N, k + 1)
        others = ids != self._rows[:, None]
        return np.take_along_axis(ids, np.argsort(~others, axis=1, kind="stable")[:, : self.k], axis=1)
