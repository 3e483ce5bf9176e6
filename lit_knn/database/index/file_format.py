"""What is in the files of an index: how they are trained, filled, merged and read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from lit_knn.database.index.file_search import FileSearcher
from lit_knn.database.store import Store
from lit_knn.storage.fingerprint import Fingerprint

LISTS = ".ivfdata"  # how the name of what is mapped beside a merged index ends


class FileFormat(ABC):
    """A format of files, for a `lit_knn.database.index.files.FileIndex`."""

    @property
    @abstractmethod
    def settings(self) -> Fingerprint:
        """What files depend on besides the features."""

    @abstractmethod
    def train(self, store: Store, tap: str, path: Path) -> Fingerprint:
        """Write an empty index, learnt from a sample of the rows; return what was chosen on the way, as JSON."""

    @abstractmethod
    def add(self, store: Store, tap: str, trained: Path, rows: range, path: Path) -> None:
        """Write an index of these rows, numbered from 0."""

    @abstractmethod
    def merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path, final: Path) -> None:
        """Write an index of the rows of all parts, given in order.

        Args:
            trained: What they share.
            parts: Their files, and the rows of each.
            path: Where to write it.
            lists: What may take what is to be mapped.
            final: Where ``lists`` will be, beside the index.
        """

    def can_merge(self, trained: Path) -> bool:
        """Return whether it can; else a store that has grown is added from its first row on."""
        del trained
        return True

    def suits(self, store: Store, tap: str, chosen: Fingerprint) -> bool:
        """Return whether a training over the first shards of a store, for which that was chosen, is one for all."""
        del store, tap, chosen
        return True

    def read_back(self, path: Path, final: Path, rows: int) -> None:  # noqa: B027 - what was written may need no reading
        """Read what was written, before it is sealed.

        Args:
            path: Where it is.
            final: Where it will be.
            rows: How many it must have.

        Raises:
            UserError: If it is not all there.
        """

    @abstractmethod
    def open(self, path: Path, description: Fingerprint) -> FileSearcher:
        """Open a file for searching; its description is that of its sidecar, or of its training."""
