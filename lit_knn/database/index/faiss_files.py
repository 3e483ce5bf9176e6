"""Files of FAISS, of floats or of bits: how they are trained, filled, merged, written and read."""

from __future__ import annotations

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.faiss_library import load_faiss, read_index, reason, write_index
from lit_knn.database.index.file_format import LISTS, FileFormat
from lit_knn.database.index.file_search import FileSearcher
from lit_knn.database.index.filling import fill
from lit_knn.database.index.merging import merge, require_mergeable
from lit_knn.database.store import Store
from lit_knn.errors import UserError, WriteError
from lit_knn.storage.fingerprint import Fingerprint

TRAINING_ROWS_PER_LIST = 100  # FAISS warns below 39 and ignores those above 256


class Empty(NamedTuple):
    """A new index of FAISS.

    Attributes:
        index: Not trained, without rows.
        factory: FAISS's name for it.
        training_rows: On how many rows it is trained, unless a number is given.
        chosen: What was chosen on the way, as JSON.
    """

    index: Any
    factory: str
    training_rows: int
    chosen: Fingerprint


class Vectors(ABC):
    """What a FAISS index is of: floats or bits, which FAISS has functions of their own for.

    Attributes:
        binary: Whether they are bits.
        factory: FAISS's name for the index.
        training_rows: Size of the random sample that it is trained on, if that is given.
        seed: Of that sample.
    """

    binary: bool
    factory: str
    training_rows: int | None
    seed: int

    @abstractmethod
    def empty(self, store: Store, tap: str) -> Empty:
        """Return a new index for the features of a tap."""

    @abstractmethod
    def rows(self, store: Store, tap: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return some rows as FAISS takes them."""

    @abstractmethod
    def blocks(self, store: Store, tap: str, rows: range) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield consecutive rows as FAISS takes them, each block with its first row."""

    @abstractmethod
    def open(self, path: Path, description: Fingerprint) -> FileSearcher:
        """Open a file for searching."""


class FaissFormat(FileFormat):
    """FAISS's own format.

    Args:
        vectors: What it is of.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    @property
    def settings(self) -> Fingerprint:
        """What the files depend on; search parameters and devices may change without building again."""
        vectors = self.vectors
        return {"factory": vectors.factory, "training_rows": vectors.training_rows, "seed": vectors.seed}

    def train(self, store: Store, tap: str, path: Path) -> Fingerprint:
        """Train on a random sample of rows.

        Raises:
            UserError: If there are too few rows, or FAISS has no such index.
        """
        index, factory, usual, chosen = self.vectors.empty(store, tap)
        if not index.is_trained:
            ids = sample(len(store), self.vectors.training_rows or usual, self.vectors.seed)
            try:
                index.train(self.vectors.rows(store, tap, ids))
            except RuntimeError as error:
                raise UserError(
                    f"index {factory!r} cannot be trained on {len(ids)} of the {len(store)} rows of {store.folder} "
                    f"({reason(error)}); choose a smaller one or raise index.training_rows"
                ) from error
        write_index(index, path)
        return chosen

    def add(self, store: Store, tap: str, trained: Path, rows: range, path: Path) -> None:
        """Add rows to a trained index.

        Raises:
            UserError: If FAISS does not take them.
        """
        index = read_index(trained, binary=self.vectors.binary)
        try:
            fill(index, lambda: (block for _, block in self.vectors.blocks(store, tap, rows)))
        except RuntimeError as error:
            raise UserError(
                f"index {self.vectors.factory!r} cannot take the rows of {store.folder} ({reason(error)}); choose "
                "another index.factory"
            ) from error
        write_index(index, path)

    def merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path, final: Path) -> None:
        """Merge parts, the inverted lists from file to file.

        Raises:
            WriteError: If the disk has no room.
            UserError: If FAISS cannot merge this kind of index.
        """
        needed, free = sum(part.stat().st_size for part, _ in parts), shutil.disk_usage(path.parent).free
        if free < needed:  # a mapped file that the disk has no room for ends the process
            raise WriteError(f"merging takes {needed:,} bytes, and {path.parent} has {free:,} left")
        try:
            merge(trained, parts, path, lists, final, binary=self.vectors.binary)
        except RuntimeError as error:
            raise UserError(
                f"index {self.vectors.factory!r} cannot be merged ({reason(error)}); build it without --part, or "
                "search its parts with Sharded"
            ) from error

    def can_merge(self, trained: Path) -> bool:
        """Return whether FAISS can merge it: not graphs (HNSW, NSG), nor lists for fast scan."""
        try:
            require_mergeable(read_index(trained, binary=self.vectors.binary))
        except RuntimeError:
            return False
        return True

    def suits(self, store: Store, tap: str, chosen: Fingerprint) -> bool:
        """Return whether the same index would be chosen: ``auto`` takes another one for four times as many rows."""
        return self.vectors.empty(store, tap).chosen == chosen

    def read_back(self, path: Path, final: Path, rows: int) -> None:
        """Read what was written, mapped."""
        faiss = load_faiss()
        beside = final.with_suffix(LISTS).exists()
        try:
            flags = faiss.IO_FLAG_ONDISK_SAME_DIR if beside else faiss.IO_FLAG_MMAP_IFC
            found = read_index(path, binary=self.vectors.binary, flags=flags).ntotal
            problem = "" if found == rows else f"it has {found:,} of {rows:,} rows"
        except RuntimeError as error:
            problem = reason(error)
        if problem:
            raise UserError(
                f"{final} cannot be read back once it is written ({problem}): make room for it, or, if FAISS keeps no "
                f"index {self.vectors.factory!r} in a file, choose another index.factory"
            )

    def open(self, path: Path, description: Fingerprint) -> FileSearcher:
        """Open a file for searching."""
        return self.vectors.open(path, description)


def sample(rows: int, wanted: int, seed: int) -> npt.NDArray[np.int64]:
    """Return ``wanted`` rows of a store, ascending, drawn without repetition; all, if it has no more."""
    if wanted >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))


def refuse_numbers(factory: str) -> None:
    """Refuse what FAISS takes, and then ends the process on, or wants to be given ids for.

    Raises:
        UserError: If a factory has it.
    """
    if "IDMap" in factory:
        raise UserError(f"index {factory!r} wants ids of its own, where a row has its number: leave out IDMap")
    if re.search(r"(?<!\d)0+(?!\d)|(HNSW|NSG)1(?!\d)", factory):
        raise UserError(f"index {factory!r} has a number that is too small: from 1, of neighbors in a graph from 2")


def opened(path: Path, description: Fingerprint, *, binary: bool, mapped: bool = True) -> Any:
    """Read a file for searching.

    Args:
        path: Of the file.
        description: Of its sidecar; what has lists beside it is mapped in any case.
        binary: Whether it is of bits.
        mapped: Whether to read the file as the search touches it.

    Raises:
        UserError: If FAISS cannot make sense of it.
    """
    faiss = load_faiss()
    flags = faiss.IO_FLAG_MMAP_IFC if mapped else 0
    try:
        return read_index(
            path, binary=binary, flags=faiss.IO_FLAG_ONDISK_SAME_DIR if description.get("lists") else flags
        )
    except RuntimeError as error:
        raise UserError(f"index {path} is damaged ({reason(error)}); run `lit-knn index` again") from error
