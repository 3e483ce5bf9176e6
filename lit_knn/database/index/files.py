"""An index in files, built part by part.

    folder/trained.faiss              what all parts share
    folder/part-00003-of-00016.faiss  the rows of one part, which it numbers from 0
    folder/merged.faiss               all rows; the others have been removed
    folder/merged.ivfdata             the inverted lists of several parts, for FAISS to map

Beside each .faiss lies a sidecar, ``….faiss.json``, written last: it says what the file belongs to.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lit_knn.database.index.base import Index
from lit_knn.database.index.file_search import Files, FileSearcher
from lit_knn.database.index.opened import OpenIndex
from lit_knn.database.index.parts import named_parts, part_path, part_rows, sealed_parts
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.atomic import publish, remove_abandoned, unfinished_name
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.sidecar import checked, describe_file, described, identity, whole

TRAINED, MERGED, LISTS = "trained.faiss", "merged.faiss", "merged.ivfdata"


class FileFormat(ABC):
    """What is in a file: how it is trained, filled, merged and read."""

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
    def merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path) -> None:
        """Write an index of the rows of all parts, given in order; ``lists`` may take what is to be mapped."""

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


class FileIndex(Index):
    """An index in files: in which order they are written, sealed, checked and removed."""

    @property
    @abstractmethod
    def file_format(self) -> FileFormat:
        """What is in them."""

    @property
    def settings(self) -> Fingerprint:
        """Those of the format."""
        return self.file_format.settings

    # ---------------------------------------------------------------- building

    def train(self, store: Store, tap: str, folder: Path) -> None:
        """Train on a sample of the rows and seal the result.

        Raises:
            UserError: If the store does not have the tap, or too few rows for the settings.
        """
        remove_abandoned(folder)
        expected = self.origin(store, tap)
        if self._is_good(folder / MERGED, expected, len(store)):
            return
        if self._is_merged(folder, expected):
            describe_file(folder / MERGED).unlink()  # damaged: the next steps make it again
        if not self._is_good(folder / TRAINED, expected, 0):
            chosen: Fingerprint = {}
            with described(folder / TRAINED, lambda: {**expected, "chosen": chosen}) as unfinished:
                chosen |= self.file_format.train(store, tap, unfinished)
                self.file_format.read_back(unfinished, folder / TRAINED, 0)

    def add(self, store: Store, tap: str, folder: Path, part: Partition) -> None:
        """Index the rows of one part and seal the file; the whole goes on with parts that there are.

        Raises:
            UserError: If the index has not been trained, or was for another store or settings.
        """
        origin = self.origin(store, tap)
        if self._is_merged(folder, origin):
            return
        common = self._common(folder, origin)
        counts = {named.count for _, named in named_parts(folder)}
        if part.is_whole and len(counts) == 1:
            (count,) = counts
            parts = [Partition(number, count) for number in range(1, count + 1)]
        else:
            parts = [part]
        for one in parts:
            rows, path = part_rows(len(store), one), part_path(folder, one)
            expected: Fingerprint = {**common, "rows": [rows.start, rows.stop]}
            if not self._is_good(path, expected, len(rows)):
                with described(path, partial(dict, expected)) as unfinished:
                    self.file_format.add(store, tap, folder / TRAINED, rows, unfinished)
                    self.file_format.read_back(unfinished, path, len(rows))

    def merge(self, store: Store, tap: str, folder: Path) -> None:
        """Make one index of all parts, and remove them.

        Raises:
            UserError: If a part is missing, damaged, of another training, or parts cannot be merged.
        """
        origin, merged = self.origin(store, tap), folder / MERGED
        remove_abandoned(folder)
        if self._is_merged(folder, origin):
            _remove_steps(folder)  # which whoever merged them was killed before
            return
        common = self._common(folder, origin)
        parts = sealed_parts(folder, common, len(store), whole)
        describe_file(merged).unlink(missing_ok=True)  # its lists are replaced before it is
        lists = unfinished_name(mapped := folder / LISTS)
        mapped.unlink(missing_ok=True)
        try:
            beside: Fingerprint = {}
            with described(merged, lambda: {**common, "lists": beside}) as path:
                if len(parts) == 1:
                    os.link(parts[0][0], path)
                else:
                    self.file_format.merge(folder / TRAINED, parts, path, lists)
                if lists.exists():
                    publish(lists, mapped)
                    beside[LISTS] = identity(mapped)
                self.file_format.read_back(path, merged, len(store))
        finally:
            lists.unlink(missing_ok=True)
        _remove_steps(folder)

    def _is_good(self, path: Path, expected: Fingerprint, rows: int) -> bool:
        """Return whether a file is what was sealed, to the byte, and can be read."""
        try:
            whole(path, expected)
            self.file_format.read_back(path, path, rows)
        except UserError:
            return False  # it will be written again
        return True

    def _is_merged(self, folder: Path, origin: Fingerprint) -> bool:
        try:
            checked(folder / MERGED, origin)
        except UserError:
            return False
        return True

    def _common(self, folder: Path, origin: Fingerprint) -> Fingerprint:
        """Return what is the same in all parts of one training.

        Raises:
            UserError: If there is none, or one for another store or settings.
        """
        training = checked(folder / TRAINED, origin)
        return {**origin, "training": training["sha256"], "chosen": training["chosen"]}

    def is_built(self, folder: Path) -> bool:
        """Return whether there is a merged index, or a part of one."""
        return any(folder.glob("merged.faiss.json")) or any(folder.glob("part-*.faiss.json"))

    # ---------------------------------------------------------------- searching

    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> OpenIndex:
        """Return the merged index, or the parts of a share.

        Raises:
            UserError: If a file is missing, damaged, or was built over another store or with other settings.
        """
        del alone
        origin, merged = self.origin(store, tap), folder / MERGED
        if share.is_whole and describe_file(merged).exists():
            description = checked(merged, origin)
            files = [(merged, range(len(store)))]
        else:
            description = self._common(folder, origin)
            files = list(share.of(sealed_parts(folder, description, len(store), checked)))
        opened = [(self.file_format.open(path, description), rows) for path, rows in files]
        built: Fingerprint = {"training": description["training"]}
        for searcher, _ in opened:
            built |= searcher.built
        return OpenIndex(self, store, tap, folder, Files(store, tap, opened), built)


def _remove_steps(folder: Path) -> None:
    """Remove what a merged index has been made from."""
    for path in (*folder.glob(f"{TRAINED}*"), *folder.glob("part-*.faiss*")):
        path.unlink(missing_ok=True)  # another process may be at it
