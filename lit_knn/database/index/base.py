"""The contract of an index: what YAML names, how it is built, and how it is opened.

It is built in three steps, any of which may have nothing to do: `train` on a sample, `add` the rows part by part (in as
many jobs as there are parts), `merge` the parts. Then it is opened, whole or a share of it, and searched. Over a store
that has got shards since, the same steps make it that of all rows, at what cost is said by the index; until then it is
not opened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import final

from lit_knn.database.index.opened import OpenIndex, dimension
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint


class Index(ABC):
    """An index over the features of one tap, in a folder of its own.

    Attributes:
        exhaustive: Whether each search reads all rows, so that nothing is built and many queries share a reading.
    """

    exhaustive = False

    def ordered(self, seed: int) -> Index:
        """Return the same index, which knows in which random order views take rows; by default it need not know."""
        del seed
        return self

    @property
    @abstractmethod
    def settings(self) -> Fingerprint:
        """What its files depend on besides the features; files built with other settings are refused."""

    @abstractmethod
    def is_built(self, folder: Path) -> bool:
        """Return whether it can be opened, from whatever it was built."""

    @abstractmethod
    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> OpenIndex:
        """Return it ready to be searched.

        Args:
            store: Whose rows the ids shall be.
            tap: Which features.
            folder: As given to `build`.
            share: Which of the rows this process searches, see `OpenIndex.partial`; together, the shares are all rows.
            alone: Whether no other process of the run opens it as well, though there are others.

        Raises:
            UserError: If a file is missing, cut, or was built over another store or with other settings.
        """

    def train(self, store: Store, tap: str, folder: Path) -> None:  # noqa: B027 - nothing to do is an answer
        """Learn what all parts share; a second time does nothing."""

    def add(self, store: Store, tap: str, folder: Path, part: Partition) -> None:  # noqa: B027
        """Index the rows of one part; a second time does nothing."""

    def merge(self, store: Store, tap: str, folder: Path) -> None:  # noqa: B027
        """Make one index of all parts; a second time does nothing."""

    def tune(self, store: Store, tap: str, folder: Path, recall: Callable[[OpenIndex], float]) -> None:  # noqa: B027
        """Choose what was left to be measured, once all is built; by default nothing is.

        Args:
            store: As above.
            tap: As above.
            folder: As above.
            recall: Says which share of the true neighbors an opened index finds.
        """

    @final
    def build(self, store: Store, tap: str, folder: Path) -> None:
        """Take all three steps.

        Raises:
            UserError: If the store does not have the tap, or too few rows for the settings.
        """
        self.train(store, tap, folder)
        self.add(store, tap, folder, WHOLE)
        self.merge(store, tap, folder)

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

    def identity(self) -> Fingerprint:
        """Return what answers depend on besides the store and what was built: all public attributes."""
        return {name: describe(value) for name, value in vars(self).items() if not name.startswith("_")}
