"""Hamming search over features that are bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_knn.database.index.faiss_files import (
    TRAINING_ROWS_PER_LIST,
    Empty,
    FaissFormat,
    Vectors,
    opened,
    refuse_numbers,
)
from lit_knn.database.index.faiss_library import load_faiss, reason
from lit_knn.database.index.file_search import FileSearcher
from lit_knn.database.index.files import FileIndex
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.selection import Selection, restricted_binary
from lit_knn.database.store import Store, pack_signs
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint

if TYPE_CHECKING:
    import faiss


class Binary(FileIndex):
    """FAISS over the bits of a tap with ``bits: true``, by Hamming distance, on the CPU.

    Distances are Euclidean between features of −1 and 1: the square root of four times the Hamming distance. Rows that
    the store has got since are added, as those of `Faiss` are.

    Args:
        factory: FAISS's name for the index: ``BFlat`` (exact: what `Scan` finds, to the bit), ``BIVF4096`` or
            ``BIVF65536_HNSW32``, which cannot search a part of their rows.
        nprobe: How many lists of a ``BIVF`` are read for each query.
        training_rows: Size of the random sample that a ``BIVF`` is trained on; by default 100 for each list, or all
            rows where there are fewer.
        seed: Of that sample and of k-means.

    References:
        Dubey et al. 2019, Section 5.1 and Appendix B (bits of conv_5_1-RMAC for billions of images).
    """

    def __init__(
        self, *, factory: str = "BFlat", nprobe: int = 32, training_rows: int | None = None, seed: int = 0
    ) -> None:
        if nprobe < 1 or (training_rows is not None and training_rows < 1):
            raise UserError(f"an index has nprobe: {nprobe}, training_rows: {training_rows}; from 1 is accepted")
        self.vectors = Bits(factory, nprobe, training_rows, seed)

    @property
    def file_format(self) -> FaissFormat:
        """FAISS's, of bits."""
        return FaissFormat(self.vectors)


@dataclass(frozen=True)
class Bits(Vectors):
    """The bits of a tap; see `Binary` for the attributes."""

    factory: str
    nprobe: int
    training_rows: int | None
    seed: int
    binary = True

    def empty(self, store: Store, tap: str) -> Empty:
        """Return a new index of bits.

        Raises:
            UserError: If FAISS has none of that name, or the tap has no bits.
        """
        faiss, dimension = load_faiss(), store.schema.dimensions[tap]
        refuse_numbers(self.factory)
        try:
            index = faiss.index_binary_factory(dimension, self.factory)
        except RuntimeError as error:
            raise UserError(
                f"FAISS has no binary index {self.factory!r} for {dimension} bits ({reason(error)}); index.factory "
                "takes for example 'BFlat', 'BIVF4096', 'BIVF65536_HNSW32'"
            ) from error
        if tap not in store.schema.bits:
            raise UserError(
                f"index {self.factory!r} searches bits, which tap {tap!r} does not have: set its `bits: true`"
            )
        lists = 0
        if isinstance(index, faiss.IndexBinaryIVF):
            index.cp.seed, lists = self.seed, index.nlist
        return Empty(index, self.factory, TRAINING_ROWS_PER_LIST * lists, {})

    def rows(self, store: Store, tap: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the codes of some rows."""
        return store.codes(tap, ids)

    def blocks(self, store: Store, tap: str, rows: range) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield the codes of consecutive rows."""
        return store.code_blocks(tap, within=rows)

    def open(self, path: Path, description: Fingerprint) -> FileSearcher:
        """Map a file."""
        index = opened(path, description, binary=True)
        if isinstance(index, load_faiss().IndexBinaryIVF):
            index.nprobe = min(self.nprobe, index.nlist)
        return BitFile(index, self.factory)


@dataclass(frozen=True)
class BitFile(FileSearcher):
    """An opened file of bits.

    Attributes:
        index: FAISS's.
        factory: Its name.
    """

    index: faiss.IndexBinary
    factory: str

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return the rows that differ from the signs of ``(N, D)`` features in the fewest places."""
        parameters = None if among is None else restricted_binary(self.index, among)
        try:
            hamming, ids = self.index.search(pack_signs(features.numpy()), k, params=parameters)
        except RuntimeError as error:
            raise UserError(
                f"index {self.factory!r} cannot search {'a part of its rows' if among else 'its rows'} "
                f"({reason(error)}); use BFlat, or no index at all"
            ) from error
        squared = 4 * torch.from_numpy(hamming).double()  # in float32, PyTorch does not round a root correctly
        return Neighbors(torch.from_numpy(ids), squared.sqrt().float())
