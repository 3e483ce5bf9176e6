"""Search in opened files, each of which has some rows of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lit_knn.database.index.exact import scan
from lit_knn.database.index.neighbors import Neighbors, nearest
from lit_knn.database.index.opened import Searcher
from lit_knn.database.index.second_look import second_look
from lit_knn.database.index.selection import Selection
from lit_knn.database.store import Store
from lit_knn.storage.fingerprint import Fingerprint


class FileSearcher(Searcher):
    """An opened file, whose rows count from 0; it takes queries, and gives its answers, on the CPU."""

    @property
    def exact(self) -> bool:
        """Whether it looks at each row as it is stored, so that only rounding can mislead it; no, by default."""
        return False

    @property
    def built(self) -> Fingerprint:
        """What its answers depend on besides settings and training, as JSON; nothing, by default."""
        return {}


@dataclass(frozen=True)
class Files(Searcher):
    """Opened files, each with some rows of a store.

    Attributes:
        store: Whose.
        tap: Which features.
        opened: The files, and the rows of each.
    """

    store: Store
    tap: str
    opened: Sequence[tuple[FileSearcher, range]]

    @property
    def exact(self) -> bool:
        """Whether all files are."""
        return all(searcher.exact for searcher, _ in self.opened)

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return the nearest of what each file finds."""
        found = [self._found(searcher, rows, features.cpu(), k, among) for searcher, rows in self.opened]
        alone = len(found) == 1 and self.exact  # and so in order
        return (found[0] if alone else nearest([Neighbors.none(len(features), k), *found], k)).to(features.device)

    def _found(
        self, searcher: FileSearcher, rows: range, features: Tensor, k: int, among: Selection | None
    ) -> Neighbors:
        """Return what one file finds, as rows of the store."""
        part = None if among is None else among.cut(rows)

        def find(features: Tensor, k: int) -> Neighbors:
            ids, distances = searcher.find(features, k, part)
            missing = ids < 0
            return Neighbors(torch.where(missing, -1, ids + rows.start), distances.masked_fill(missing, torch.inf))

        if not searcher.exact:
            return find(features, k)
        return second_look(
            features,
            k,
            find=find,
            vectors=partial(self.store.features, self.tap),
            scan=lambda features, k: scan(self.store.feature_blocks(self.tap, within=rows), features, k, [among])[0],
        )
