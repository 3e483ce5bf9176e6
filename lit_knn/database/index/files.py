"""An index in files, built part by part.

    folder/trained.faiss              what all parts share
    folder/part-00003-of-00016.faiss  the rows of one part, which it numbers from 0
    folder/merged.faiss               all rows; the others have been removed
    folder/merged.ivfdata             the inverted lists of several parts, for FAISS to map

Beside each .faiss lies a sidecar, ``….faiss.json``, written last: it says what the file belongs to.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.base import Index
from lit_knn.database.index.exact import scan
from lit_knn.database.index.neighbors import Neighbors, nearest
from lit_knn.database.index.parts import named_parts, part_path, part_rows, sealed_parts
from lit_knn.database.index.second_look import second_look
from lit_knn.database.index.selection import Selection
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.storage.atomic import publish, remove_abandoned, unfinished_name
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.sidecar import (
    checked,
    describe_file,
    described,
    identity,
    whole,
)

TRAINED, MERGED, LISTS = "trained.faiss", "merged.faiss", "merged.ivfdata"


class Piece(NamedTuple):
    """An opened file, and which rows of the store it has."""

    handle: Any
    rows: range


class FileIndex(Index):
    """What indexes in files have in common; a variant says how to train, fill, merge, read and search one."""

    _pieces: Sequence[Piece] = ()

    @abstractmethod
    def _train(self, store: Store, tap: str, path: Path) -> Fingerprint:
        """Write an empty index, learnt from a sample of the rows; return what was chosen on the way, as JSON."""

    @abstractmethod
    def _add(self, store: Store, tap: str, trained: Path, rows: range, path: Path) -> None:
        """Write an index of these rows, numbered from 0."""

    @abstractmethod
    def _merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path) -> None:
        """Write an index of the rows of all parts, given in order; ``lists`` may take what is to be mapped."""

    def _read_back(self, path: Path, final: Path, rows: int) -> None:
        """Read what was written, before it is sealed.

        Args:
            path: Where it is.
            final: Where it will be.
            rows: How many it must have.

        Raises:
            UserError: If it is not all there.
        """

    @abstractmethod
    def _read(self, path: Path, description: Fingerprint) -> Any:
        """Open a file for searching."""

    @abstractmethod
    def _query(self, handle: Any, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        """Return the k nearest rows of one file, ids −1 beyond them."""

    def _is_exact(self, handle: Any) -> bool:
        """Return whether it looks at each row of a file as it is stored, so that only rounding can mislead it."""
        del handle
        return False

    # ---------------------------------------------------------------- building

    @final
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
                chosen |= self._train(store, tap, unfinished)
                self._read_back(unfinished, folder / TRAINED, 0)

    @final
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
                    self._add(store, tap, folder / TRAINED, rows, unfinished)
                    self._read_back(unfinished, path, len(rows))

    @final
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
                    self._merge(folder / TRAINED, parts, path, lists)
                if lists.exists():
                    publish(lists, mapped)
                    beside[LISTS] = identity(mapped)
                self._read_back(path, merged, len(store))
        finally:
            lists.unlink(missing_ok=True)
        _remove_steps(folder)

    def _is_good(self, path: Path, expected: Fingerprint, rows: int) -> bool:
        """Return whether a file is what was sealed, to the byte, and can be read."""
        try:
            whole(path, expected)
            self._read_back(path, path, rows)
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

    @final
    def _open(self, store: Store, tap: str, folder: Path, share: Partition) -> None:
        origin, merged = self.origin(store, tap), folder / MERGED
        if share.is_whole and describe_file(merged).exists():
            description = checked(merged, origin)
            self.built = {"training": description["training"]}
            self._pieces = [Piece(self._read(merged, description), range(len(store)))]
            return
        common = self._common(folder, origin)
        self.built = {"training": common["training"]}
        parts = share.of(sealed_parts(folder, common, len(store), checked))
        self._pieces = [Piece(self._read(path, common), rows) for path, rows in parts]

    @final
    def _search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        nothing = Neighbors(np.full((len(features), k), -1), np.full((len(features), k), np.inf, np.float32))
        return nearest([nothing, *(self._search_piece(piece, features, k, among) for piece in self._pieces)], k)

    def _search_piece(
        self, piece: Piece, features: npt.NDArray[np.float32], k: int, among: Selection | None
    ) -> Neighbors:
        handle, rows = piece
        part = None if among is None else among.cut(rows)

        def find(features: npt.NDArray[np.float32], k: int) -> Neighbors:
            ids, distances = self._query(handle, features, k, part)
            missing = ids < 0
            return Neighbors(np.where(missing, -1, ids + rows.start), np.where(missing, np.inf, distances))

        if not self._is_exact(handle):
            return find(features, k)
        store, tap = self._required_store(), self._tap
        return second_look(
            features,
            k,
            find=find,
            vectors=partial(store.features, tap),
            scan=lambda features, k: scan(store.feature_blocks(tap, within=rows), features, k, [among])[0],
        )


def _remove_steps(folder: Path) -> None:
    """Remove what a merged index has been made from."""
    for path in (*folder.glob(f"{TRAINED}*"), *folder.glob("part-*.faiss*")):
        path.unlink(missing_ok=True)  # another process may be at it
