"""What float and binary indexes of FAISS have in common: how they are trained, filled, merged, written and read."""

from __future__ import annotations

import re
import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.faiss_library import load_faiss, read_index, reason, write_index
from lit_knn.database.index.files import LISTS, FileIndex
from lit_knn.database.index.merging import merge
from lit_knn.database.store import Store
from lit_knn.errors import UserError, WriteError
from lit_knn.storage.fingerprint import Fingerprint

TRAINING_ROWS_PER_LIST = 100  # FAISS warns below 39 and ignores those above 256


class FaissFiles(FileIndex):
    """FAISS indexes in files; a variant says how one is made and searched, and what it takes of a store.

    Attributes:
        binary: Whether it is an index of bits, which FAISS has functions of its own for.
        factory: FAISS's name for the index.
        training_rows: Size of the random sample that it is trained on, if that is given.
        seed: Of that sample.
    """

    binary: bool
    factory: str
    training_rows: int | None
    seed: int

    @property
    def settings(self) -> Fingerprint:
        """What the files depend on; search parameters and devices may change without building again."""
        return {"factory": self.factory, "training_rows": self.training_rows, "seed": self.seed}

    @abstractmethod
    def _blocks(self, store: Store, tap: str, rows: range) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield consecutive rows as FAISS takes them."""

    def _refuse_numbers(self, factory: str) -> None:
        """Refuse what FAISS takes, and then ends the process on, or wants to be given ids for."""
        if "IDMap" in factory:
            raise UserError(f"index {factory!r} wants ids of its own, where a row has its number: leave out IDMap")
        if re.search(r"(?<!\d)0+(?!\d)|(HNSW|NSG)1(?!\d)", factory):
            raise UserError(f"index {factory!r} has a number that is too small: from 1, of neighbors in a graph from 2")

    def _train_on(self, index: Any, factory: str, store: Store, usual: int, features: Callable[..., Any]) -> None:
        """Train an index on a random sample of rows.

        Args:
            index: Empty.
            factory: FAISS's name for it.
            store: Whose rows.
            usual: How many, if no number is given.
            features: Returns some rows as FAISS takes them, given their ids.

        Raises:
            UserError: If there are too few rows.
        """
        ids = np.arange(len(store))
        if (wanted := self.training_rows or usual) < len(store):
            ids = np.sort(np.random.default_rng(self.seed).choice(len(store), wanted, replace=False))
        try:
            index.train(features(ids))
        except RuntimeError as error:
            raise UserError(
                f"index {factory!r} cannot be trained on {len(ids)} of the {len(store)} rows of {store.folder} "
                f"({reason(error)}); choose a smaller one or raise index.training_rows"
            ) from error

    def _add(self, store: Store, tap: str, trained: Path, rows: range, path: Path) -> None:
        index = read_index(trained, binary=self.binary)
        try:
            for _, block in self._blocks(store, tap, rows):
                index.add(np.ascontiguousarray(block))
        except RuntimeError as error:
            raise UserError(
                f"index {self.factory!r} cannot take the rows of {store.folder} ({reason(error)}); choose another index.factory"
            ) from error
        write_index(index, path)

    def _read_back(self, path: Path, final: Path, rows: int) -> None:
        faiss = load_faiss()
        flags = faiss.IO_FLAG_ONDISK_SAME_DIR if (path.parent / LISTS).exists() else faiss.IO_FLAG_MMAP_IFC
        try:
            found = read_index(path, binary=self.binary, flags=flags).ntotal
            problem = "" if found == rows else f"it has {found:,} of {rows:,} rows"
        except RuntimeError as error:
            problem = reason(error)
        if problem:
            raise UserError(
                f"{final} cannot be read back once it is written ({problem}): make room for it, or, if FAISS keeps no index "
                f"{self.factory!r} in a file, choose another index.factory"
            )

    def _merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path) -> None:
        needed, free = sum(part.stat().st_size for part, _ in parts), shutil.disk_usage(path.parent).free
        if free < needed:  # a mapped file that the disk has no room for ends the process
            raise WriteError(f"merging takes {needed:,} bytes, and {path.parent} has {free:,} left")
        try:
            merge(trained, parts, path, lists, binary=self.binary)
        except RuntimeError as error:
            raise UserError(
                f"index {self.factory!r} cannot be merged ({reason(error)}); build it without --part, or search its parts "
                "with Sharded"
            ) from error

    def _opened(self, path: Path, flags: int) -> Any:
        """Read a file for searching.

        Raises:
            UserError: If FAISS cannot make sense of it.
        """
        try:
            return read_index(path, binary=self.binary, flags=flags)
        except RuntimeError as error:
            raise UserError(f"index {path} is damaged ({reason(error)}); run `lit-knn index` again") from error
