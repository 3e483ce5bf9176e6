"""Search over several processes, each of which holds a share of the rows: a database larger than one machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from lit_knn.database.index.base import Index
from lit_knn.database.index.exchange import Exchange
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.opened import OpenIndex, Searcher
from lit_knn.database.index.selection import Selection
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint

PARTS = "parts"  # a folder of their own, where no merged index is taken for all of them


class Sharded(Index):
    """Another index, each process of the run searching its share of it for all of them.

    Its parts are kept as they are and never merged, so that each process opens, maps or copies to its GPU only its own.
    The answers are those of one index over all rows, to the bit if it is exact. In a store that has grown, rows go to
    other parts: all are added again, by the training there is.

    Args:
        index: What searches each part.
        parts: Into how many parts one process cuts it; jobs with ``--part`` say so themselves. At least as many as
            there will be processes.
    """

    def __init__(self, *, index: Index, parts: int = 8) -> None:
        if parts < 1:
            raise UserError(f"parts of a Sharded index takes a number from 1, not {parts}")
        if isinstance(index, Sharded):
            raise UserError("a Sharded index takes one that is not Sharded itself")
        self.index, self.parts = index, parts
        self._exchange = Exchange()  # of all taps

    @property
    def settings(self) -> Fingerprint:
        """Those of the parts."""
        return self.index.settings

    def train(self, store: Store, tap: str, folder: Path) -> None:
        """Train what all parts share."""
        self.index.train(store, tap, folder / PARTS)

    def add(self, store: Store, tap: str, folder: Path, part: Partition) -> None:
        """Index one part; the whole is indexed in parts, one after another."""
        for one in [Partition(number, self.parts) for number in range(1, self.parts + 1)] if part.is_whole else [part]:
            self.index.add(store, tap, folder / PARTS, one)

    def tune(self, store: Store, tap: str, folder: Path, recall: Callable[[OpenIndex], float]) -> None:
        """Choose what was left to be measured, with all parts."""
        self.index.tune(store, tap, folder / PARTS, recall)

    def is_built(self, folder: Path) -> bool:
        """Return whether there are parts."""
        return self.index.is_built(folder / PARTS)

    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> OpenIndex:
        """Return the share of this process, which finds what all of them find."""
        del share
        several = dist.is_initialized() and not alone
        mine = Partition(dist.get_rank() + 1, dist.get_world_size()) if several else WHOLE
        opened = self.index.open(store, tap, folder / PARTS, mine)
        return OpenShare(self, store, tap, folder, opened, Exchange(alone=True) if alone else self._exchange)


class OpenShare(OpenIndex):
    """The share of one process, which asks the others for theirs.

    Args:
        index: What it was opened from.
        store: Whose rows the ids are.
        tap: Which features.
        folder: Of what was built.
        mine: The share, opened.
        exchange: Where all are asked.
    """

    def __init__(
        self, index: Sharded, store: Store, tap: str, folder: Path, mine: OpenIndex, exchange: Exchange
    ) -> None:
        super().__init__(index, store, tap, folder, AllShares(exchange, exchange.join(mine)), mine.built)
        self._mine, self._exchange = mine, exchange

    def rehearse(self, among: Selection) -> None:
        """Search some of the rows of this process once."""
        self._mine.rehearse(among)

    def finish(self) -> None:
        """Answer the other processes until all of them have finished."""
        self._exchange.finish()


@dataclass(frozen=True)
class AllShares(Searcher):
    """The shares of all processes.

    Attributes:
        exchange: Asks them.
        number: Of the index that they are shares of.
    """

    exchange: Exchange
    number: int

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return what all processes together find."""
        return self.exchange.ask(self.number, features, k, among)
