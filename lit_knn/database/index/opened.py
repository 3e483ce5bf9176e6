"""An opened index, whatever searches in it: ids are rows of the store, all of them real, nearest first.

An index that calls itself exact is one function of query and rows: `lit_knn.database.index.exact`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.database.index.exact import compared_on, scan
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.selection import Selection
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError, counted
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.sidecar import REMEDY

if TYPE_CHECKING:
    from lit_knn.database.index.base import Index

log = logging.getLogger(__name__)
LARGEST = 1e15  # of a feature: the square of a distance is a float32 where FAISS computes it


class Searcher(ABC):
    """What finds rows of an opened index; `OpenIndex` checks what is asked of it and what it finds.

    Attributes:
        device: Where it is to search, ``cpu`` or ``cuda``; ``auto`` takes a GPU if there is one.
        is_foreign: Whether what it finds has to be checked: files may be damaged, and a library may ignore a selection.
    """

    device: str = "auto"
    is_foreign = True

    @property
    def exact(self) -> bool:
        """Whether it finds what `lit_knn.database.index.exact` defines, to the bit; no, by default."""
        return False

    @abstractmethod
    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return the k nearest rows of those that ``among`` allows, ids −1 beyond them.

        Args:
            features: ``(N, D)`` float32, contiguous, on any device: what is found lies there too.
            k: How many.
            among: The rows that may be found; None for all.
        """

    def find_each(self, features: Tensor, k: int, among: Sequence[Selection | None]) -> list[Neighbors]:
        """Find them for each selection; what reads all rows overrides it to read them once."""
        return [self.find(features, k, part) for part in among]

    def held(self, ids: Tensor) -> Tensor | None:
        """Return the features ``(..., D)`` float32 of rows of any shape, if they are held where ``ids`` lie."""
        del ids
        return None


class OpenIndex:
    """An index over the features of one tap, or a share of it, ready to be searched.

    Args:
        index: What it was opened from.
        store: Whose rows the ids are.
        tap: Which features.
        folder: Of what was built.
        searcher: Finds the rows.
        built: What answers depend on besides store and settings, as JSON.

    Raises:
        UserError: If the store does not have the tap.
    """

    def __init__(
        self, index: Index, store: Store, tap: str, folder: Path, searcher: Searcher, built: Fingerprint | None = None
    ) -> None:
        self.index, self.store, self.tap, self.folder = index, store, tap, folder
        self.searcher, self.built = searcher, built or {}
        self.name, self.dimension = f"index {folder}", dimension(store, tap)
        self._said = False  # that searches take longer than they need to

    @property
    def exhaustive(self) -> bool:
        """Whether each search reads all rows, so that many queries had better be asked together."""
        return self.index.exhaustive

    def identity(self) -> Fingerprint:
        """Return what answers depend on besides the store."""
        return {"index": describe(self.index), "built": self.built}

    @cached_property
    def resident(self) -> OpenIndex:
        """The same index for search in a loop, which finds the same to the bit.

        The rows of an exact one are held, if all taps fit: on a GPU, or in memory where there are many.
        """
        from lit_knn.database.index.resident import ResidentRows, worth_holding

        device = compared_on(self.searcher.device)
        is_held = isinstance(self.searcher, ResidentRows)
        if is_held or not self.searcher.exact or not worth_holding(self.store, device):
            return self
        rows = ResidentRows(self.store, self.tap, device=device.type)
        return OpenIndex(self.index, self.store, self.tap, self.folder, rows, self.built)

    def share(self, share: Partition) -> OpenIndex:
        """Return a share of the same index, opened."""
        return self.index.open(self.store, self.tap, self.folder, share)

    def search(self, features: Tensor, k: int, among: Selection | None = None) -> Neighbors:
        """Return the k nearest rows of each query.

        A query of which an approximate search finds fewer than k is searched exactly, which reads the whole store.

        Args:
            features: ``(N, D)`` float, finite, below 1e15, on any device; compared as float32.
            k: From 1 to the number of rows.
            among: The rows that may be found; all by default.

        Raises:
            UserError: If a feature is NaN, infinite or too large, there are fewer than k rows, or what was built is
                damaged.
        """
        found = self.partial(features, k, among)
        short = (found.ids < 0).any(dim=1).nonzero()[:, 0]
        if not len(short):
            return found
        if not self._said:
            self._said = True
            log.warning(
                "%s finds fewer than k = %d neighbors for some queries, which all rows are read for: raise nprobe "
                "(IVF) or efSearch (HNSW) in search_parameters",
                self.name,
                k,
            )
        (exact,) = scan(self.store.feature_blocks(self.tap), features.detach()[short].float(), k, [among])
        return Neighbors(*(part.index_copy(0, short, better) for part, better in zip(found, exact, strict=True)))

    def partial(self, features: Tensor, k: int, among: Selection | None = None) -> Neighbors:
        """Search only the share that was opened: as `search`, but ids are −1 where it has fewer than k rows to give."""
        rows = len(self.store) if among is None else len(among)
        if not 1 <= k <= rows:
            raise UserError(f"{self.name} has {counted(rows, 'row', 'rows')} and cannot find k = {k} neighbors")
        (neighbors,) = self.partials(features, k, [among])
        return neighbors

    def partials(self, features: Tensor, k: int, among: Sequence[Selection | None]) -> list[Neighbors]:
        """Do what `partial` does for each of several selections that share no row, of any size."""
        if features.ndim != 2 or features.shape[1] != self.dimension:
            raise UserError(f"{self.name} takes features (N, {self.dimension}), not {tuple(features.shape)}")
        features = features.detach().float().contiguous()
        usable = (features.abs() < LARGEST).all(dim=1)
        if not usable.all():
            raise UserError(
                f"features of query {int(usable.long().argmin())} of {len(features)} are NaN or infinite, or exceed "
                f"{LARGEST:g}"
            )
        found = self.searcher.find_each(features, k, among)
        if self.searcher.is_foreign:
            for neighbors, part in zip(found, among, strict=True):
                self._check(neighbors.ids, part)
        return found

    def _check(self, ids: Tensor, among: Selection | None) -> None:
        """Refuse rows that are not there, or may not be found."""
        if ids.numel() and (last := int(ids.max())) >= len(self.store):
            raise UserError(f"{self.name} found row {last} of {len(self.store)} rows: it is damaged; {REMEDY} again")
        if among is not None and len(outside := among.outside(ids.cpu().numpy())):
            raise UserError(
                f"{self.name} found row {outside[0]}, which is none of the {len(among)} rows that may be found: it "
                "does not keep to them; search it on the CPU, or use the index Scan"
            )

    def vectors(self, ids: Tensor) -> Tensor:
        """Return the stored features ``(..., D)`` float32 of rows ``(...)`` int64, where these lie."""
        held = self.searcher.held(ids)
        if held is not None:
            return held
        return torch.from_numpy(self.store.features(self.tap, ids.cpu().numpy())).to(ids.device)

    def rehearse(self, among: Selection) -> None:
        """Search some rows once, unless that would read everything.

        Raises:
            UserError: If it cannot, as far as that is known without the other processes.
        """
        if not self.exhaustive:
            self.partial(torch.zeros(1, self.dimension, dtype=torch.float32), 1, among)

    def finish(self) -> None:
        """Say that this process has nothing left to ask; indexes over several processes answer until none has."""


def dimension(store: Store, tap: str) -> int:
    """Return D.

    Raises:
        UserError: If the store does not have the tap.
    """
    if tap not in store.schema.dimensions:
        raise UserError(f"store {store.folder} has no tap {tap!r}; it has {', '.join(store.schema.dimensions)}")
    return store.schema.dimensions[tap]
