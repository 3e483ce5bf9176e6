"""How much of what exact search finds an index finds.

Distances count, not ids: of rows that are equally far, as bits often are, any is as good as another.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from lit_knn.database.index.opened import OpenIndex
from lit_knn.database.index.scan import Scan
from lit_knn.database.index.second_look import measured
from lit_knn.database.store import Store

QUERIES = 200


class Truth:
    """The exact neighbors of some rows of a store, without the rows themselves.

    Args:
        store: Where rows come from.
        tap: Which features.
        k: How many neighbors.
        queries: How many rows, chosen at random.
        seed: Of the choice.
    """

    def __init__(self, store: Store, tap: str, k: int, *, queries: int = QUERIES, seed: int = 0) -> None:
        self.k = min(k, len(store) - 1)
        rows = np.sort(np.random.default_rng(seed).choice(len(store), min(queries, len(store)), replace=False))
        self._rows, self._features = torch.from_numpy(rows), torch.from_numpy(store.features(tap, rows))
        self._vectors = partial(store.features, tap)
        self._farthest = self._distances(Scan().open(store, tap, store.folder))[:, -1:]  # (N, 1)

    def __len__(self) -> int:
        """Return how many rows are looked for."""
        return len(self._rows)

    def recall(self, index: OpenIndex) -> float:
        """Return the share of k rows that an opened index finds no farther than the k-th true neighbor, 0 to 1."""
        return float((self._distances(index) <= self._farthest).double().mean())

    def _distances(self, index: OpenIndex) -> Tensor:
        """Return how far the k rows ``(N, k)`` found besides the query itself are, infinite where fewer are."""
        ids = index.partial(self._features, self.k + 1).ids  # (N, k + 1)
        itself = (ids == self._rows[:, None]).byte()
        ids = ids.gather(1, itself.argsort(dim=1, stable=True)[:, : self.k])
        return measured(self._features, ids, self._vectors).distances.sort(dim=1).values
