"""The contract of an index: ids are rows of the store, all of them real, nearest first.

An index that calls itself exact is one function of query and rows: `lit_knn.database.index.exact`.

It is built in three steps, any of which may have nothing to do: `train` on a sample, `add` the rows part by part (in as
many jobs as there are parts), `merge` the parts. Then it is opened, whole or a share of it, and searched.
"""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.exact import scan
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.selection import Selection
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError, counted
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.sidecar import REMEDY

log = logging.getLogger(__name__)
LARGEST = 1e15  # of a feature: the square of a distance is a float32 where FAISS computes it


class Index(ABC):
    """An index over the features of one tap, in a folder of its own.

    A variant says how to build, open and search; what is asked of it is checked here.

    Attributes:
        exhaustive: Whether each search reads all rows, so that nothing is built and many queries share a reading.
        built: Of an opened one, what its answers depend on besides its settings, as JSON.
    """

    exhaustive = False
    built: Mapping[str, Any] = {}
    _name = "index"  # what messages call it, once it is open
    _store: Store | None = None
    _tap = ""
    _alone = False  # whether no other process has opened it
    _said = False  # that searches take longer than they need to

    @property
    @abstractmethod
    def settings(self) -> Fingerprint:
        """What its files depend on besides the features; files built with other settings are refused."""

    def identity(self) -> Fingerprint:
        """Return what answers depend on besides the store: all public attributes, with `built` of an opened one."""
        return {name: describe(value) for name, value in vars(self).items() if not name.startswith("_")}

    # ---------------------------------------------------------------- building

    @final
    def origin(self, store: Store, tap: str) -> Fingerprint:
        """Return what everything that is built depends on.

        Raises:
            UserError: If the store does not have the tap.
        """
        return {
            "store": store.checksum,
            "tap": tap,
            "dimension": dimension(store, tap),
            "settings": self.settings,
        }

    def train(self, store: Store, tap: str, folder: Path) -> None:  # noqa: B027 - nothing to do is an answer
        """Learn what all parts share; a second time does nothing."""

    def add(self, store: Store, tap: str, folder: Path, part: Partition) -> None:  # noqa: B027
        """Index the rows of one part; a second time does nothing."""

    def merge(self, store: Store, tap: str, folder: Path) -> None:  # noqa: B027
        """Make one index of all parts; a second time does nothing."""

    def tune(self, store: Store, tap: str, folder: Path, recall: Callable[[Index], float]) -> None:  # noqa: B027
        """Choose what was left to be measured, once all is built; by default nothing is.

        Args:
            store: As above.
            tap: As above.
            folder: As above.
            recall: Says which share of the true neighbors an opened index finds.
        """

    @abstractmethod
    def is_built(self, folder: Path) -> bool:
        """Return whether it can be opened, from whatever it was built."""

    @final
    def build(self, store: Store, tap: str, folder: Path) -> None:
        """Take all three steps.

        Raises:
            UserError: If the store does not have the tap, or too few rows for the settings.
        """
        self.train(store, tap, folder)
        self.add(store, tap, folder, WHOLE)
        self.merge(store, tap, folder)

    # ---------------------------------------------------------------- searching

    @abstractmethod
    def _open(self, store: Store, tap: str, folder: Path, share: Partition) -> None:
        """Get ready to search a share of the rows; together, the shares are all rows."""

    @abstractmethod
    def _search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        """Return the k nearest rows of ``(N, D)`` float32, of those that ``among`` allows, ids −1 beyond them."""

    def _search_each(
        self, features: npt.NDArray[np.float32], k: int, among: Sequence[Selection | None]
    ) -> list[Neighbors]:
        """Search for each selection; an index that reads all rows overrides it to read them once."""
        return [self._search(features, k, part) for part in among]

    @final
    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> Self:
        """Return a copy that is ready to be searched.

        Args:
            store: Whose rows the ids shall be.
            tap: Which features.
            folder: As given to `build`.
            share: Which of the rows this process searches; see `partial`.
            alone: Whether no other process of the run opens it as well, though there are others.

        Raises:
            UserError: If a file is missing, cut, or was built over another store or with other settings.
        """
        ready = copy.copy(self)
        dimension(store, tap)
        ready._name, ready._store, ready._tap = f"index {folder}", store, tap
        ready._alone = alone
        ready._open(store, tap, folder, share)
        return ready

    @final
    def search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None = None) -> Neighbors:
        """Return the k nearest rows of each query.

        A query of which an approximate search finds fewer than k is searched exactly, which reads the whole store.

        Args:
            features: ``(N, D)`` float32, finite, below 1e15.
            k: From 1 to the number of rows.
            among: The rows that may be found; all by default.

        Raises:
            UserError: If a feature is NaN, infinite or too large, there are fewer than k rows, or what was built is damaged.
        """
        neighbors = self.partial(features, k, among)
        short = np.flatnonzero((neighbors.ids < 0).any(axis=1))
        if not len(short):
            return neighbors
        if not self._said:
            self._said = True
            log.warning(
                "%s finds fewer than k = %d neighbors for some queries, which all rows are read for: raise nprobe (IVF) or "
                "efSearch (HNSW) in search_parameters",
                self._name,
                k,
            )
        store = self._required_store()
        (exact,) = scan(store.feature_blocks(self._tap), np.asarray(features[short], np.float32), k, [among])
        found = Neighbors(neighbors.ids.copy(), neighbors.distances.copy())
        found.ids[short], found.distances[short] = exact
        return found

    def rehearse(self, among: Selection) -> None:
        """Search some rows once.

        Raises:
            UserError: If it cannot, as far as that is known without the other processes.
        """
        self.partial(np.zeros((1, dimension(self._required_store(), self._tap)), np.float32), 1, among)

    def finish(self) -> None:  # noqa: B027
        """Say that this process has nothing left to ask; indexes over several processes answer until none has."""

    @final
    def partial(self, features: npt.NDArray[np.float32], k: int, among: Selection | None = None) -> Neighbors:
        """Search only the share that was opened: as `search`, but ids are −1 where it has fewer than k rows to give."""
        rows = len(self._required_store()) if among is None else len(among)
        if not 1 <= k <= rows:
            raise UserError(f"{self._name} has {counted(rows, 'row', 'rows')} and cannot find k = {k} neighbors")
        (neighbors,) = self.partials(features, k, [among])
        return neighbors

    @final
    def partials(self, features: npt.NDArray[np.float32], k: int, among: Sequence[Selection | None]) -> list[Neighbors]:
        """Do what `partial` does for each of several selections that share no row, of any size."""
        store = self._required_store()
        features, size = np.ascontiguousarray(features, np.float32), dimension(store, self._tap)
        if features.ndim != 2 or features.shape[1] != size:
            raise UserError(f"{self._name} takes features (N, {size}), not {features.shape}")
        if not (usable := (np.abs(features) < LARGEST).all(axis=1)).all():
            raise UserError(
                f"features of query {usable.argmin()} of {len(features)} are NaN or infinite, or exceed {LARGEST:g}"
            )
        found = self._search_each(features, k, among)
        for (ids, _), part in zip(found, among, strict=True):
            if ids.size and ids.max() >= len(store):
                raise UserError(
                    f"{self._name} found row {ids.max()} of {len(store)} rows: it is damaged; {REMEDY} again"
                )
            if part is not None and len(outside := part.outside(ids)):
                raise UserError(
                    f"{self._name} found row {outside[0]}, which is none of the {len(part)} rows that may be found: it does "
                    "not keep to them; search it on the CPU, or use the index Scan"
                )
        return found

    def _required_store(self) -> Store:
        if self._store is None:
            raise RuntimeError("the index has not been opened")
        return self._store


def dimension(store: Store, tap: str) -> int:
    """Return D.

    Raises:
        UserError: If the store does not have the tap.
    """
    if tap not in store.schema.dimensions:
        raise UserError(f"store {store.folder} has no tap {tap!r}; it has {', '.join(store.schema.dimensions)}")
    return store.schema.dimensions[tap]
