"""Exact search without an index: all rows of the store pass by, block after block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.index.base import Index, Neighbors
from lit_knn.index.selection import Selection
from lit_knn.part import WHOLE, Part
from lit_knn.store import Store

TILE = 4096  # queries at a time: with 16,384 rows, 256 MiB of distances


class Scan(Index):
    """Read every row for every call: nothing to build, nothing in memory but one block, nothing missed.

    The more queries a call has, the less each of them costs.

    Args:
        device: Where distances are computed; ``auto`` takes a GPU if there is one.
        block_rows: How many rows are compared at a time. The same number gives the same bits.
    """

    exhaustive = True

    def __init__(self, *, device: Literal["auto", "cpu", "cuda"] = "auto", block_rows: int = 16_384) -> None:
        if block_rows < 1:
            raise UserError(f"block_rows of an index takes a number from 1, not {block_rows}")
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("index.device is cuda, but PyTorch sees no GPU here: use auto or cpu")
        self.device, self.block_rows = device, block_rows
        self._store: Store | None = None
        self._tap, self._share = "", WHOLE

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing is built."""
        return {}

    def is_built(self, folder: Path) -> bool:
        """Return yes."""
        del folder
        return True

    def _open(self, store: Store, tap: str, folder: Path, share: Part) -> None:
        del folder
        self._store, self._tap, self._share = store, tap, share

    def _search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        (neighbors,) = self._search_each(features, k, [among])
        return neighbors

    def _search_each(
        self, features: npt.NDArray[np.float32], k: int, among: Sequence[Selection | None]
    ) -> list[Neighbors]:
        if self._store is None:
            raise RuntimeError("the index has not been opened")
        cuda = self.device == "cuda" or (self.device == "auto" and torch.cuda.is_available())
        queries = torch.from_numpy(features).to("cuda" if cuda else "cpu")
        running = [Running(queries, k) for _ in among]
        for first, rows in self._store.feature_blocks(self._tap, share=self._share, rows=self.block_rows):
            for found, part in zip(running, among, strict=True):
                found.compare(first, rows, part)
        return [found.neighbors() for found in running]


class Running:
    """The nearest rows so far of N queries.

    Args:
        queries: ``(N, D)`` float32.
        k: How many are kept of each.
    """

    def __init__(self, queries: Tensor, k: int) -> None:
        self.queries = queries
        self.scores = torch.full((len(queries), k), torch.inf, device=queries.device)  # ‖x‖² − 2 q·x, ascending
        self.ids = torch.full((len(queries), k), -1, device=queries.device)

    def compare(self, first: int, rows: npt.NDArray[np.float32], among: Selection | None = None) -> None:
        """Look at rows ``(n, D)``, which follow those of earlier calls.

        Args:
            first: The id of the first of them.
            rows: Their features.
            among: Those that may be found; all by default.
        """
        ids = np.arange(first, first + len(rows))
        if among is not None:
            allowed = among.mask(range(first, first + len(rows)))
            ids, rows = ids[allowed], rows[allowed]
        if not len(rows):
            return
        device = self.queries.device
        block, number = torch.from_numpy(rows).to(device), torch.from_numpy(ids).to(device)
        squares = torch.einsum("nd,nd->n", block, block)
        k = self.ids.shape[1]
        for start in range(0, len(self.queries), TILE):
            tile = slice(start, start + TILE)
            scores = (self.queries[tile] @ block.T).mul_(-2).add_(squares)  # (T, n)
            near, columns = scores.topk(min(k, len(ids)), dim=1, largest=False)  # (T, ≤ k)
            scores = torch.cat([self.scores[tile], near], dim=1)
            found = torch.cat([self.ids[tile], number[columns]], dim=1)
            self.scores[tile], order = (part[:, :k] for part in scores.sort(dim=1, stable=True))
            self.ids[tile] = found.gather(1, order)

    def neighbors(self) -> Neighbors:
        """Return the nearest rows, ids −1 where there were fewer than k."""
        squares = torch.einsum("nd,nd->n", self.queries, self.queries)
        distances = (self.scores + squares[:, None]).clamp_(min=0).sqrt_()  # rounding takes that of a copy below 0
        return Neighbors(self.ids.cpu().numpy(), distances.cpu().numpy())
