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
from typing import Any, NamedTuple, cast, final

import numpy as np
import numpy.typing as npt

from lit_knn.errors import UserError
from lit_knn.index.base import Index
from lit_knn.index.exact import scan
from lit_knn.index.neighbors import Neighbors, nearest
from lit_knn.index.second_look import second_look
from lit_knn.index.selection import Selection
from lit_knn.index.sidecar import REMEDY, Description, checked, describe_file, described, is_described
from lit_knn.part import Part
from lit_knn.sealing import publish, unfinished_name
from lit_knn.store import Store

LISTS = "merged.ivfdata"


class Piece(NamedTuple):
    """An opened file, and which rows of the store it has."""

    handle: Any
    rows: range


class FileIndex(Index):
    """What indexes in files have in common; a variant says how to train, fill, merge, read and search one."""

    _pieces: Sequence[Piece] = ()
    _training = ""  # the hash of what all pieces share

    @abstractmethod
    def _train(self, store: Store, tap: str, path: Path) -> Description:
        """Write an empty index, learnt from a sample of the rows; return what was chosen on the way, as JSON."""

    @abstractmethod
    def _add(self, store: Store, tap: str, trained: Path, rows: range, path: Path) -> None:
        """Write an index of these rows, numbered from 0."""

    @abstractmethod
    def _merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path) -> None:
        """Write an index of the rows of all parts, given in order; ``lists`` may take what is to be mapped."""

    @abstractmethod
    def _read(self, path: Path, description: Description) -> Any:
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
        expected = self.belonging(store, tap)
        if not _is_merged(folder, expected) and not is_described(folder / "trained.faiss", expected):
            chosen: Description = {}
            with described(folder / "trained.faiss", lambda: {**expected, "chosen": chosen}) as unfinished:
                chosen |= self._train(store, tap, unfinished)

    @final
    def add(self, store: Store, tap: str, folder: Path, part: Part) -> None:
        """Index the rows of one part and seal the file.

        Raises:
            UserError: If the index has not been trained, or was for another store or settings.
        """
        belonging = self.belonging(store, tap)
        if _is_merged(folder, belonging):
            return
        trained, rows = folder / "trained.faiss", part_rows(len(store), part)
        expected = {**self._common(folder, belonging), "rows": [rows.start, rows.stop]}
        path = folder / f"part-{part.number:05d}-of-{part.count:05d}.faiss"
        if not is_described(path, expected):
            with described(path, lambda: expected) as unfinished:
                self._add(store, tap, trained, rows, unfinished)

    @final
    def merge(self, store: Store, tap: str, folder: Path) -> None:
        """Make one index of all parts, and remove them.

        Raises:
            UserError: If a part is missing, is of another training, or parts cannot be merged.
        """
        belonging, merged = self.belonging(store, tap), folder / "merged.faiss"
        if _is_merged(folder, belonging):
            return
        trained, common = folder / "trained.faiss", self._common(folder, belonging)
        parts = self._parts(folder, common, len(store))
        describe_file(merged).unlink(missing_ok=True)  # its lists are replaced before it is
        lists = unfinished_name(mapped := folder / LISTS)
        mapped.unlink(missing_ok=True)
        try:
            with described(merged, lambda: {**common, "lists": _size(mapped)}) as path:
                if len(parts) == 1:
                    os.link(parts[0][0], path)
                else:
                    self._merge(trained, parts, path, lists)
                if lists.exists():
                    publish(lists, mapped)
        finally:
            lists.unlink(missing_ok=True)
        for path in (trained, *(path for path, _ in parts)):
            path.unlink()
            describe_file(path).unlink()

    def _common(self, folder: Path, belonging: Description) -> Description:
        """Return what is the same in all parts of one training.

        Raises:
            UserError: If there is none, or one for another store or settings.
        """
        training = checked(folder / "trained.faiss", belonging)
        return {**belonging, "training": training["sha256"], "chosen": training["chosen"]}

    def _parts(self, folder: Path, expected: Description, rows: int) -> list[tuple[Path, range]]:
        """Return the sealed parts in order, once they are known to be all rows of one training."""
        paths = sorted(folder.glob("part-*-of-*.faiss"))
        if len(cuttings := {path.stem.rpartition("-")[2] for path in paths}) > 1:
            raise UserError(
                f"{folder} has parts of several cuttings, of {' and of '.join(sorted(cuttings))}: delete one"
            )
        parts = [(path, range(*checked(path, expected)["rows"])) for path in paths]
        bounds = [0, *(part.stop for _, part in parts)]
        if [part.start for _, part in parts] != bounds[:-1] or bounds[-1] != rows:
            found = ", ".join(path.stem for path in paths) or "none"
            raise UserError(f"{folder} has not all parts of the index, but {found}; run `lit-knn index` for the others")
        return parts

    def is_built(self, folder: Path) -> bool:
        """Return whether there is a merged index, or a part of one."""
        return any(folder.glob("merged.faiss.json")) or any(folder.glob("part-*.faiss.json"))

    # ---------------------------------------------------------------- searching

    @final
    def _open(self, store: Store, tap: str, folder: Path, share: Part) -> None:
        belonging, merged = self.belonging(store, tap), folder / "merged.faiss"
        if share.is_whole and describe_file(merged).exists():
            description = checked(merged, belonging)
            if (size := _size(folder / LISTS)) != description["lists"]:
                raise UserError(f"{folder / LISTS} has {size} of {description['lists']} bytes; {REMEDY} again")
            self._training = description["training"]
            self._pieces = [Piece(self._read(merged, description), range(len(store)))]
            return
        common = self._common(folder, belonging)
        self._training = common["training"]
        parts = share.of(self._parts(folder, common, len(store)))
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


def part_rows(rows: int, part: Part) -> range:
    """Return the rows of a store that make a part of its index: all parts in order are all rows."""
    whole = cast(range, part.of(range(-(-rows // 8))))  # parts start between the bytes of a `Selection`
    return range(8 * whole.start, min(8 * whole.stop, rows))


def _is_merged(folder: Path, belonging: Description) -> bool:
    return is_described(folder / "merged.faiss", {**belonging, "lists": _size(folder / LISTS)})


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
