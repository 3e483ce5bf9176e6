"""Exact search in memory: codes of eight bits for all rows, and a second look at the few that may be nearest."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from lit_knn.database.index.coded_rows import CodedRows
from lit_knn.database.index.codes import Sieve
from lit_knn.database.index.exact import Running, compared_on, euclidean, scan
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.opened import OpenIndex, Searcher
from lit_knn.database.index.plan import default_budget
from lit_knn.database.index.selection import Selection
from lit_knn.database.index.store_index import StoreIndex
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError

HELD_FROM = 50_000  # rows: in a loop on a CPU, fewer are compared as fast as they are
QUERIES = 128  # at a time
PAIRS = 1 << 14  # of a query and a row that are looked at a second time at once


class Resident(StoreIndex):
    """Hold all rows in memory or on a GPU, and compare every query with each: nothing to build, nothing missed; exact.

    Made for search within a loop, over any part of the rows. A row takes a byte for each dimension, and 12 more. The
    features that are looked at again are the store's own, mapped; a GPU holds them too, two bytes for each dimension.

    Args:
        device: Where rows are; ``auto`` takes a GPU if there is one.
        memory_gb: What the rows of a tap may take in GiB; half of the memory by default.
    """

    def __init__(self, *, device: Literal["auto", "cpu", "cuda"] = "auto", memory_gb: float | None = None) -> None:
        if memory_gb is not None and memory_gb <= 0:
            raise UserError(f"a Resident index has memory_gb: {memory_gb}; above 0 is accepted")
        super().__init__(device=device)
        self.memory_gb = memory_gb

    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> OpenIndex:
        """Return a share of the rows, read when it is searched for the first time.

        Raises:
            UserError: If they do not fit.
        """
        del alone
        taken = needed(store, [tap])
        budget = default_budget() if self.memory_gb is None else round(self.memory_gb * 2**30)
        if taken > budget:
            raise UserError(
                f"the rows of tap {tap} take {taken / 2**30:.3g} GiB, a Resident index may take "
                f"{budget / 2**30:.3g}: raise memory_gb, or use the index Scan or Faiss"
            )
        return OpenIndex(self, store, tap, folder, ResidentRows(store, tap, share, self.device))


def needed(store: Store, taps: Iterable[str]) -> int:
    """Return about how many bytes the rows of some taps take, with the features that are mapped."""
    return sum(len(store) * (3 * store.schema.dimensions[tap] + 12) for tap in taps)


def worth_holding(store: Store, device: torch.device) -> bool:
    """Return whether half of a GPU holds all taps for each process; or of the memory, if there are many rows."""
    processes = dist.get_world_size() if dist.is_initialized() else 1
    on_gpu = device.type == "cuda"
    budget = torch.cuda.get_device_properties(device).total_memory // 2 if on_gpu else default_budget()
    return (on_gpu or len(store) >= HELD_FROM) and processes * needed(store, store.schema.dimensions) <= budget


class ResidentRows(Searcher):
    """A share of the rows of a store, read when it is searched for the first time.

    Args:
        store: Whose.
        tap: Which features.
        share: Which rows.
        device: Where they are; ``auto`` takes a GPU if there is one.
    """

    exact = True
    is_foreign = False

    def __init__(self, store: Store, tap: str, share: Partition = WHOLE, device: str = "auto") -> None:
        self._store, self._tap, self._share, self._device = store, tap, share, compared_on(device)

    @cached_property
    def _rows(self) -> CodedRows:
        return CodedRows(self._store, self._tap, self._share, self._device)

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return the k nearest rows."""
        queries = features.to(self._device)
        ids, distances = Neighbors.none(len(queries), k, self._device)
        crowded = torch.zeros(len(queries), dtype=torch.bool, device=self._device)
        for start in range(0, len(queries), QUERIES):
            part = slice(start, start + QUERIES)
            sieve = self._rows.sift(queries[part], k, among)
            ids[part], distances[part] = self._second_look(queries[part], k, sieve, among)
            crowded[part] = sieve.crowded
        if crowded.any():
            blocks = self._store.feature_blocks(self._tap, share=self._share)
            ((ids[crowded], distances[crowded]),) = scan(blocks, queries[crowded], k, [among], self._device.type)
        return Neighbors(ids, distances).to(features.device)

    def held(self, ids: Tensor) -> Tensor | None:
        """Return the features of rows on a GPU; a CPU has them mapped."""
        return self._rows.held(ids)

    def _second_look(self, queries: Tensor, k: int, sieve: Sieve, among: Selection | None) -> Neighbors:
        """Return the k nearest rows by their true distances."""
        query, row = sieve.query, sieve.row
        distances = torch.full((len(row),), torch.inf, dtype=torch.float32, device=row.device)
        first = sieve.likely.nonzero()[:, 0]  # k rows that are known say how far the others may be
        distances[first] = self._measured(queries, query[first], row[first])
        every = torch.arange(len(queries), device=row.device)
        farthest = torch.zeros(len(queries), dtype=torch.float32, device=row.device)
        farthest = farthest.scatter_reduce(0, query[first], distances[first], "amax").double()
        limit = sieve.reach(farthest / self._rows.grid.step)
        further = (distances.isinf() & (sieve.squared <= limit.index_select(0, query))).nonzero()[:, 0]
        distances[further] = self._measured(queries, query[further], row[further])
        kept = distances.isfinite()
        query, distances, ids = query[kept], distances[kept], self._rows.ids[row[kept]]
        there, other = torch.cartesian_prod(every, self._rows.far_among(among)).unbind(1)
        distances = torch.cat([distances, euclidean(queries, there, self._rows.far_vectors, other)])
        query, ids = torch.cat([query, there]), torch.cat([ids, self._rows.far[other]])
        order = ids.argsort()
        running = Running(queries, k)
        running.take(slice(0, len(queries)), query[order], distances[order], ids[order])
        return running.neighbors()

    def _measured(self, queries: Tensor, query: Tensor, row: Tensor) -> Tensor:
        """Return the distances of pairs."""
        parts = zip(query.split(PAIRS), row.split(PAIRS), strict=True)
        return torch.cat([euclidean(queries, one, self._rows.vectors(other)) for one, other in parts])
