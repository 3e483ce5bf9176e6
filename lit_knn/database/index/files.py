"""An index in files, built part by part.

    folder/trained.faiss              what all parts share
    folder/part-00003-of-00016.faiss  the rows of one part, which it numbers from 0
    folder/merged-000100.faiss        all rows of a store of 100 shards; the parts have been removed
    folder/merged-000100.ivfdata      the inverted lists of several parts, for FAISS to map

Beside each .faiss lies a sidecar, ``….faiss.json``, written last: it says what the file belongs to.

Where a store has got further shards since, the training stays, parts are of the new rows only, and the merged index is
one more part: what all together give is what all rows, added at once, give. It stays until the next is sealed.
"""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from functools import partial
from pathlib import Path

from lit_knn.database.index.base import Index
from lit_knn.database.index.earlier import Earlier, as_of, earlier_index, merged_path
from lit_knn.database.index.file_format import LISTS, FileFormat
from lit_knn.database.index.file_search import Files
from lit_knn.database.index.opened import OpenIndex
from lit_knn.database.index.parts import named_parts, part_path, part_rows, sealed_parts
from lit_knn.database.store import Store
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError, counted
from lit_knn.storage.atomic import publish, remove_abandoned, unfinished_name
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.sidecar import REMEDY, checked, describe_file, described, identity, whole

log = logging.getLogger(__name__)
TRAINED = "trained.faiss"


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
        """Train on a sample of the rows and seal the result; one over the first shards of a store that has grown stays.

        Raises:
            UserError: If the store does not have the tap, or too few rows for the settings.
        """
        remove_abandoned(folder)
        origin, trained = self.origin(store, tap), folder / TRAINED
        then = as_of(trained, origin, store)
        is_trained = self._is_good(trained, then, 0)
        if self._is_good(merged_path(folder, len(store.prefixes)), origin, len(store)):
            if not is_trained:
                _remove(trained)  # what is merged does without, until the store grows
            return
        if self._is_merged(store, tap, folder):
            describe_file(merged_path(folder, len(store.prefixes))).unlink()  # damaged: the next steps make it again
        if is_trained and then != origin:
            is_trained = self.file_format.suits(store, tap, checked(trained, then)["chosen"])
            log.info("index of %s: the store has grown, its training %s", tap, "stays" if is_trained else "gives way")
        if not is_trained:
            chosen: Fingerprint = {}
            with described(trained, lambda: {**origin, "chosen": chosen}) as unfinished:
                chosen |= self.file_format.train(store, tap, unfinished)
                self.file_format.read_back(unfinished, trained, 0)
        earlier = self._kept(store, folder, self._common(store, tap, folder))
        if earlier and not self._is_good(earlier.path, earlier.origin, len(earlier.rows)):
            describe_file(earlier.path).unlink()  # damaged: all rows are added again

    def add(self, store: Store, tap: str, folder: Path, part: Partition) -> None:
        """Index the rows of one part and seal the file; the whole goes on with parts that there are.

        Of a store that has grown, parts are of the rows that no merged index has.

        Raises:
            UserError: If the index has not been trained, or was for another store or settings.
        """
        if self._is_merged(store, tap, folder):
            return
        common = self._common(store, tap, folder)
        lacking = self._lacking(store, self._kept(store, folder, common))
        counts = {named.count for _, named in named_parts(folder)}
        if part.is_whole and len(counts) == 1:
            (count,) = counts
            parts = [Partition(number, count) for number in range(1, count + 1)]
        else:
            parts = [part]
        for one in parts:
            rows, path = part_rows(lacking, one), part_path(folder, one)
            expected: Fingerprint = {**common, "rows": [rows.start, rows.stop]}
            if not self._is_good(path, expected, len(rows)):
                with described(path, partial(dict, expected)) as unfinished:
                    self.file_format.add(store, tap, folder / TRAINED, rows, unfinished)
                    self.file_format.read_back(unfinished, path, len(rows))

    def merge(self, store: Store, tap: str, folder: Path) -> None:
        """Make one index of all parts, and of the one that there was before the store has grown, and remove these.

        Raises:
            UserError: If a part is missing, damaged, of another training, or parts cannot be merged.
        """
        merged = merged_path(folder, len(store.prefixes))
        remove_abandoned(folder)
        if self._is_merged(store, tap, folder):
            _remove_steps(folder, merged)  # which whoever merged them was killed before
            return
        common = self._common(store, tap, folder)
        earlier = self._kept(store, folder, common)
        parts = sealed_parts(folder, common, self._lacking(store, earlier), whole)
        if earlier:
            whole(earlier.path, earlier.origin)
            parts.insert(0, (earlier.path, earlier.rows))
        describe_file(merged).unlink(missing_ok=True)  # its lists are replaced before it is
        lists = unfinished_name(mapped := merged.with_suffix(LISTS))
        mapped.unlink(missing_ok=True)
        try:
            beside: Fingerprint = {}
            with described(merged, lambda: {**common, "lists": beside}) as path:
                if len(parts) == 1:
                    os.link(parts[0][0], path)
                else:
                    self.file_format.merge(folder / TRAINED, parts, path, lists, mapped)
                if lists.exists():
                    publish(lists, mapped)
                    beside[mapped.name] = identity(mapped)
                self.file_format.read_back(path, merged, len(store))
        finally:
            lists.unlink(missing_ok=True)
        _remove_steps(folder, merged)

    def _is_good(self, path: Path, expected: Fingerprint, rows: int) -> bool:
        """Return whether a file is what was sealed, to the byte, and can be read."""
        try:
            whole(path, expected)
            self.file_format.read_back(path, path, rows)
        except UserError:
            return False  # it will be written again
        return True

    def _is_merged(self, store: Store, tap: str, folder: Path) -> bool:
        try:
            checked(merged_path(folder, len(store.prefixes)), self.origin(store, tap))
        except UserError:
            return False
        return True

    def _common(self, store: Store, tap: str, folder: Path) -> Fingerprint:
        """Return what is the same in all parts of one training.

        Raises:
            UserError: If there is none, or one for another store or settings.
        """
        origin, trained = self.origin(store, tap), folder / TRAINED
        training = checked(trained, as_of(trained, origin, store))
        return {**origin, "training": training["sha256"], "chosen": training["chosen"]}

    def _kept(self, store: Store, folder: Path, common: Fingerprint) -> Earlier | None:
        """Return the index that new rows are added to, if the store has grown since."""
        earlier = earlier_index(folder, common, store)
        return earlier if earlier and self.file_format.can_merge(folder / TRAINED) else None

    def _lacking(self, store: Store, earlier: Earlier | None) -> range:
        return range(len(earlier.rows) if earlier else 0, len(store))

    def is_built(self, folder: Path) -> bool:
        """Return whether there is a merged index, or a part of one."""
        return any(folder.glob("merged-*.faiss.json")) or any(folder.glob("part-*.faiss.json"))

    # ---------------------------------------------------------------- searching

    def open(self, store: Store, tap: str, folder: Path, share: Partition = WHOLE, *, alone: bool = False) -> OpenIndex:
        """Return the merged index, or the parts of a share.

        Raises:
            UserError: If a file is missing, damaged, or was built over another store or with other settings.
        """
        del alone
        origin, merged = self.origin(store, tap), merged_path(folder, len(store.prefixes))
        if share.is_whole and describe_file(merged).exists():
            description = checked(merged, origin)
            files = [(merged, range(len(store)))]
        elif earlier := earlier_index(folder, origin, store):
            lacking = counted(earlier.lacking, "shard", "shards")
            raise UserError(f"index {folder} lacks the rows of {lacking} that the store has got since: {REMEDY}")
        else:
            description = self._common(store, tap, folder)
            files = list(share.of(sealed_parts(folder, description, range(len(store)), checked)))
        opened = [(self.file_format.open(path, description), rows) for path, rows in files]
        built: Fingerprint = {"training": description["training"]}
        for searcher, _ in opened:
            built |= searcher.built
        return OpenIndex(self, store, tap, folder, Files(store, tap, opened), built)


def _remove_steps(folder: Path, merged: Path) -> None:
    """Remove what a merged index has been made from, but for the training, by which it can be added to."""
    for path in (*folder.glob("part-*.faiss"), *folder.glob("merged*.faiss"), *folder.glob(f"merged*{LISTS}")):
        if path.stem != merged.stem:
            _remove(path)


def _remove(path: Path) -> None:
    for one in (describe_file(path), path):
        one.unlink(missing_ok=True)  # another process may be at it
