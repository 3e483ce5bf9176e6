"""Exact search without an index: all rows of the store pass by, block after block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from lit_knn.database.index.base import Index
from lit_knn.database.index.exact import scan
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.selection import Selection
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint


class Scan(Index):
    """Read every row for every call: nothing to build, nothing in memory but one block, nothing missed; exact.

    The more queries a call has, the less each of them costs.

    Args:
        device: Where distances are computed; ``auto`` takes a GPU if there is one.
        block_rows: How many rows are compared at a time; what is found does not depend on it.
    """

    exhaustive = True

    def __init__(self, *, device: Literal["auto", "cpu", "cuda"] = "auto", block_rows: int = 16_384) -> None:
        if block_rows < 1:
            raise UserError(f"block_rows of an index takes a number from 1, not {block_rows}")
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("index.device is cuda, but PyTorch sees no GPU here: use auto or cpu")
        self.device, self.block_rows = device, block_rows
        self._share = WHOLE

    @property
    def settings(self) -> Fingerprint:
        """Nothing is built."""
        return {}

    def is_built(self, folder: Path) -> bool:
        """Return yes."""
        del folder
        return True

    def _open(self, store: Store, tap: str, folder: Path, share: Partition) -> None:
        del store, tap, folder
        self._share = share

    def rehearse(self, among: Selection) -> None:
        """Do nothing: it can, and would read everything."""

    def _search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        (neighbors,) = self._search_each(features, k, [among])
        return neighbors

    def _search_each(
        self, features: npt.NDArray[np.float32], k: int, among: Sequence[Selection | None]
    ) -> list[Neighbors]:
        blocks = self._required_store().feature_blocks(self._tap, share=self._share, rows=self.block_rows)
        return scan(blocks, features, k, among, self.device)
