"""The rows of a tap in memory: the codes of all, and the features of those that may be nearest."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lit_knn.database.index.arrangement import Arrangement
from lit_knn.database.index.codes import Grid, Sieve, squares
from lit_knn.database.index.selection import Selection
from lit_knn.database.store import Store
from lit_knn.database.store.held_columns import HOLDING
from lit_knn.distributed.partition import Partition

SAMPLE = 65_536  # rows that the grid reaches as far as
TILE, GPU_TILE = 2048, 1 << 17  # rows at a time: codes and products of fewer stay in a processor's cache
SPREAD = 16_384  # rows that are compared first, a sixteenth at most, to know about how near the nearest are
TILES = 8  # that are looked through together
CROWD = 64  # times k rows, or 16,384 of them, are more than a second look is worth


class CodedRows:
    """A share of the rows of a store, read once.

    On a GPU it also holds their features, as they are stored; on a CPU these are the store's own, mapped.

    Args:
        store: Whose.
        tap: Which features.
        share: Which rows.
        device: Where they are.

    Attributes:
        ids: ``(M,)`` int64, rows of the store, those of a selection next to each other.
        grid: That the codes are of.
        far: ``(L,)`` int64, the few rows that the grid does not reach and that have no code.
        far_vectors: ``(L, D)`` float32, their features.
    """

    def __init__(self, store: Store, tap: str, share: Partition, device: torch.device) -> None:
        self._store, self._tap, self._device = store, tap, device
        dimension = store.schema.dimensions[tap]
        sample = np.linspace(0, len(store) - 1, min(SAMPLE, len(store)), dtype=np.int64)
        self.grid = Grid.over(torch.from_numpy(store.features(tap, sample)).to(device))
        width = self.grid.encode(torch.zeros(0, dimension, dtype=torch.float32, device=device))[0].shape[1]
        self.ids = torch.empty(len(store), dtype=torch.int64, device=device)
        self._codes = torch.empty(len(store), width, dtype=torch.int8, device=device)
        self._squares = torch.empty(len(store), dtype=torch.int32, device=device)
        held = len(store) if device.type in HOLDING else 0
        dtype = torch.float16 if store.is_half(tap) else torch.float32
        self._features = torch.empty(held, dimension, dtype=dtype, device=device)
        far = [(self.ids[:0], torch.empty(0, dimension, dtype=torch.float32, device=device))]
        count, self._error = 0, 0.0  # the largest of a row, in steps
        self._start, read = 0, 0  # of the share, whose rows are consecutive
        for first, rows in store.feature_blocks(tap, share=share, rows=TILE):
            block, ids = torch.from_numpy(rows).to(device), torch.arange(first, first + len(rows), device=device)
            codes, errors, beyond = self.grid.encode(block)
            far.append((ids[beyond], block[beyond]))
            near = ~beyond
            part = slice(count, count := count + int(near.count_nonzero()))
            self.ids[part], self._codes[part] = ids[near], codes[near]
            self._squares[part] = squares(self._codes[part])
            self._error = max(self._error, float((errors * near).amax()))
            self._start, place, read = first - read, read, read + len(rows)
            if held:
                self._features[place:read] = block
        if read < held:
            self._features = self._features[:read].clone()
        self.far, self.far_vectors = (torch.cat(part) for part in zip(*far, strict=True))
        self._far_among: dict[str, Tensor] = {}
        self._arrangement = Arrangement(count)
        self._move(self._squares[:count].argsort())

    def sift(self, queries: Tensor, k: int, among: Selection | None) -> Sieve:
        """Return what may be among the k nearest rows of ``(N, D)`` queries, but for those that are `far`."""
        codes, errors, _ = self.grid.encode(queries)
        sieve = Sieve(codes, errors + self._error, k, max(CROWD * k, SAMPLE // 4))
        runs = self._runs(among)
        spread = _spread(runs, self._device)
        sieve.expect(self._codes.index_select(0, spread), self._squares.index_select(0, spread))
        tiles = self._tiles(runs)
        batches = [tiles[start : start + TILES] for start in range(0, len(tiles), TILES)]
        for number, batch in enumerate(batches, 1):
            sieve.compare(self._codes, self._squares, batch)
            if number & (number - 1) == 0 or number == len(batches):  # twice as many as the last time
                sieve.tighten()
        return sieve

    def vectors(self, row: Tensor) -> Tensor:
        """Return features ``(P, D)`` float32, by where their rows are in `ids`."""
        ids = self.ids.index_select(0, row)
        held = self.held(ids)
        return torch.from_numpy(self._store.features(self._tap, ids.numpy())) if held is None else held

    def held(self, ids: Tensor) -> Tensor | None:
        """Return features ``(..., D)`` float32 of rows of the store of any shape; None where ids lie elsewhere."""
        if not len(self._features) or ids.device != self._features.device:
            return None
        found = self._features.index_select(0, ids.flatten() - self._start)
        return found.float().view(*ids.shape, found.shape[1])

    def far_among(self, among: Selection | None) -> Tensor:
        """Return which of `far` a selection has, ``(L',)`` int64."""
        if among is None or not len(self.far):
            return torch.arange(len(self.far), device=self._device)
        if among.digest not in self._far_among:
            here = torch.from_numpy(among.includes(self.far.cpu().numpy()))
            self._far_among[among.digest] = here.nonzero()[:, 0].to(self._device)
        return self._far_among[among.digest]

    def _runs(self, among: Selection | None) -> list[range]:
        """Return where the rows of a selection are."""
        if among is not None and not self._arrangement.knows(among):
            inside = among.includes(self.ids.cpu().numpy())
            self._move(torch.from_numpy(self._arrangement.admit(among, inside)).to(self._device))
        return self._arrangement.runs(among)

    def _tiles(self, runs: list[range]) -> list[range]:
        """Return runs in parts, in an order that brings rows of all lengths early."""
        size = TILE if self._device.type == "cpu" else GPU_TILE
        tiles = [run[start : start + size] for run in runs for start in range(0, len(run), size)]
        return [tiles[number] for number in np.random.default_rng(0).permutation(len(tiles))]

    def _move(self, order: Tensor) -> None:
        """Put rows where an arrangement wants them."""
        self.ids, self._codes, self._squares = self.ids[order], self._codes[order], self._squares[order]


def _spread(runs: list[range], device: torch.device) -> Tensor:
    """Return rows at equal steps of each run, ``(n,)`` int64."""
    step = max(-(-sum(map(len, runs)) // SPREAD), 16)
    parts = [torch.arange(run.start, run.stop, step, device=device) for run in runs if run]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64, device=device)
