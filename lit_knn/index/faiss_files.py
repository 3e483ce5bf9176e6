"""What float and binary indexes of FAISS have in common: how they are trained, filled, merged, written and read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_knn.errors import UserError
from lit_knn.index.faiss_library import read_index, reason, write_index
from lit_knn.index.files import FileIndex
from lit_knn.index.merging import merge
from lit_knn.store import Store

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
    def settings(self) -> dict[str, Any]:
        """What the files depend on; search parameters and devices may change without building again."""
        return {"factory": self.factory, "training_rows": self.training_rows, "seed": self.seed}

    @abstractmethod
    def _blocks(self, store: Store, tap: str, rows: range) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield consecutive rows as FAISS takes them."""

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
        for _, block in self._blocks(store, tap, rows):
            index.add(np.ascontiguousarray(block))
        write_index(index, path)

    def _merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path) -> None:
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
