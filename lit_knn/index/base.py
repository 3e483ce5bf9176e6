"""The contract of an index: ids are rows of the store, all of them real, nearest first.

It is built in three steps, any of which may have nothing to do: `train` on a sample, `add` the rows part by part (in as
many jobs as there are parts), `merge` the parts. Then it is opened, whole or a share of it, and searched.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, final

import numpy as np
import numpy.typing as npt

from lit_knn.errors import UserError
from lit_knn.index.selection import Selection
from lit_knn.part import WHOLE, Part
from lit_knn.store import Store


class Neighbors(NamedTuple):
    """The K nearest rows of N queries, nearest first.

    Attributes:
        ids: ``(N, K)`` int64, rows of the store; −1 where a share of them has fewer than K.
        distances: ``(N, K)`` float32, Euclidean, in units of the features, infinite beside −1; approximate for a lossy
            index, and near 0: matrix products leave a copy up to 1e-3 of its length away.
    """

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


def nearest(found: Sequence[Neighbors], k: int) -> Neighbors:
    """Merge what the same queries ``(..., K)`` found in different rows; the lower id goes first of equally near ones.

    So neither the order of ``found`` nor how the rows were shared out matters.
    """
    ids, distances = (np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
    order = np.lexsort((ids, distances), axis=-1)[..., :k]
    return Neighbors(np.take_along_axis(ids, order, -1), np.take_along_axis(distances, order, -1))


class Index(ABC):
    """An index over the features of one tap, in a folder of its own.

    A variant says how to build, open and search; what is asked of it is checked here.
    """

    exhaustive = False  # whether each search reads all rows, so that nothing is built and many queries share a reading
    _name = "index"  # what messages call it, once it is open
    _rows = 0
    _dimension = 0

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What its files depend on besides the features, as JSON; files built with other settings are refused."""

    # ---------------------------------------------------------------- building

    @final
    def belonging(self, store: Store, tap: str) -> dict[str, Any]:
        """Return, as JSON, what everything that is built depends on.

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

    def add(self, store: Store, tap: str, folder: Path, part: Part) -> None:  # noqa: B027
        """Index the rows of one part; a second time does nothing."""

    def merge(self, store: Store, tap: str, folder: Path) -> None:  # noqa: B027
        """Make one index of all parts; a second time does nothing."""

    def tune(self, store: Store, tap: str, folder: Path, recall: Callable[[Index], float]) -> None:  # noqa: B027
        """Choose what was left to be measured, once all is built; by default nothing is.

        Args:
            store: As above.
            tap: As above.
            folder: As above.
            recall: Says which share of the true neighbours an opened index finds.
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
    def _open(self, store: Store, tap: str, folder: Path, share: Part) -> None:
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
    def open(self, store: Store, tap: str, folder: Path, share: Part = WHOLE) -> Self:
        """Return a copy that is ready to be searched.

        Args:
            store: Whose rows the ids shall be.
            tap: Which features.
            folder: As given to `build`.
            share: Which of the rows this process searches; see `partial`.

        Raises:
            UserError: If a file is missing, cut, or was built over another store or with other settings.
        """
        ready = copy.copy(self)
        ready._name, ready._rows, ready._dimension = f"index {folder}", len(store), dimension(store, tap)
        ready._open(store, tap, folder, share)
        return ready

    @final
    def search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None = None) -> Neighbors:
        """Return the k nearest rows of each query.

        Args:
            features: ``(N, D)`` float32, finite.
            k: From 1 to the number of rows.
            among: The rows that may be found; all by default.

        Raises:
            UserError: If a feature is NaN or infinite, there are fewer than k rows, or an approximate search did not
                look at k of them.
        """
        neighbors = self.partial(features, k, among)
        if (neighbors.ids < 0).any():
            short = (neighbors.ids < 0).any(axis=1).sum()
            raise UserError(
                f"{self._name} found fewer than k = {k} neighbours for {short} of {len(features)} queries: raise "
                "nprobe (IVF) or efSearch (HNSW) in search_parameters"
            )
        return neighbors

    def finish(self) -> None:  # noqa: B027
        """Say that this process has nothing left to ask; indexes over several processes answer until none has."""

    @final
    def partial(self, features: npt.NDArray[np.float32], k: int, among: Selection | None = None) -> Neighbors:
        """Search only the share that was opened: as `search`, but ids are −1 where it has fewer than k rows to give."""
        rows = self._rows if among is None else len(among)
        if self._rows and not 1 <= k <= rows:
            raise UserError(f"{self._name} has {rows} rows and cannot find k = {k} neighbours")
        (neighbors,) = self.partials(features, k, [among])
        return neighbors

    @final
    def partials(self, features: npt.NDArray[np.float32], k: int, among: Sequence[Selection | None]) -> list[Neighbors]:
        """Do what `partial` does for each of several selections that share no row, of any size."""
        if not self._rows:
            raise RuntimeError("the index has not been opened")
        features = np.ascontiguousarray(features, np.float32)
        if features.ndim != 2 or features.shape[1] != self._dimension:
            raise UserError(f"{self._name} takes features (N, {self._dimension}), not {features.shape}")
        if not (finite := np.isfinite(features).all(axis=1)).all():
            raise UserError(f"features of query {finite.argmin()} of {len(features)} are NaN or infinite")
        return self._search_each(features, k, among)


def dimension(store: Store, tap: str) -> int:
    """Return D.

    Raises:
        UserError: If the store does not have the tap.
    """
    if tap not in store.schema.dimensions:
        raise UserError(f"store {store.folder} has no tap {tap!r}; it has {', '.join(store.schema.dimensions)}")
    return store.schema.dimensions[tap]
