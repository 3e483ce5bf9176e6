"""Exact search without an index: all rows of the store pass by, block after block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from lit_knn.database.index.exact import scan
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.opened import OpenIndex, Searcher
from lit_knn.database.index.selection import Selection
from lit_knn.database.index.store_index import StoreIndex
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError


class Scan(StoreIndex):
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
        super().__init__(device=device)
        self.block_rows = block_rows

    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> OpenIndex:
        """Return a share of the rows, ready to be read."""
        del alone
        return OpenIndex(self, store, tap, folder, StoredRows(store, tap, share, self.block_rows, self.device))


@dataclass(frozen=True)
class StoredRows(Searcher):
    """A share of the rows of a store, read for each search.

    Attributes:
        store: Whose.
        tap: Which features.
        share: Which rows.
        block_rows: How many are compared at a time.
        device: Where; ``auto`` takes a GPU if there is one.
    """

    store: Store
    tap: str
    share: Partition
    block_rows: int
    device: str
    exact = True
    is_foreign = False

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return the k nearest rows."""
        (neighbors,) = self.find_each(features, k, [among])
        return neighbors

    def find_each(self, features: Tensor, k: int, among: Sequence[Selection | None]) -> list[Neighbors]:
        """Return the k nearest rows of each selection, in one reading."""
        blocks = self.store.feature_blocks(self.tap, share=self.share, rows=self.block_rows)
        return scan(blocks, features, k, among, self.device)
