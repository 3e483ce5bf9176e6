"""Hamming search over features that are bits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.faiss_files import TRAINING_ROWS_PER_LIST, FaissFiles
from lit_knn.database.index.faiss_library import load_faiss, reason, write_index
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.selection import Selection, restricted_binary
from lit_knn.database.store import Store, pack_signs
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint


class Binary(FaissFiles):
    """FAISS over the bits of a tap with ``bits: true``, by Hamming distance, on the CPU.

    Distances are Euclidean between features of −1 and 1: the square root of four times the Hamming distance.

    Args:
        factory: FAISS's name for the index: ``BFlat`` (exact: what `Scan` finds, to the bit), ``BIVF4096`` or
            ``BIVF65536_HNSW32``, which cannot search a part of their rows.
        nprobe: How many lists of a ``BIVF`` are read for each query.
        training_rows: Size of the random sample that a ``BIVF`` is trained on; by default 100 for each list, or all rows
            where there are fewer.
        seed: Of that sample and of k-means.

    References:
        Dubey et al. 2019, Section 5.1 and Appendix B (bits of conv_5_1-RMAC for billions of images).
    """

    binary = True

    def __init__(
        self, *, factory: str = "BFlat", nprobe: int = 32, training_rows: int | None = None, seed: int = 0
    ) -> None:
        if nprobe < 1 or (training_rows is not None and training_rows < 1):
            raise UserError(f"an index has nprobe: {nprobe}, training_rows: {training_rows}; from 1 is accepted")
        self.factory, self.nprobe, self.training_rows, self.seed = factory, nprobe, training_rows, seed

    def _train(self, store: Store, tap: str, path: Path) -> Fingerprint:
        faiss, dimension = load_faiss(), store.schema.dimensions[tap]
        self._refuse_numbers(self.factory)
        try:
            index = faiss.index_binary_factory(dimension, self.factory)
        except RuntimeError as error:
            raise UserError(
                f"FAISS has no binary index {self.factory!r} for {dimension} bits ({reason(error)}); index.factory takes "
                "for example 'BFlat', 'BIVF4096', 'BIVF65536_HNSW32'"
            ) from error
        if tap not in store.schema.bits:
            raise UserError(
                f"index {self.factory!r} searches bits, which tap {tap!r} does not have: set its `bits: true`"
            )
        if isinstance(index, faiss.IndexBinaryIVF):
            index.cp.seed = self.seed
            usual = TRAINING_ROWS_PER_LIST * index.nlist
            self._train_on(index, self.factory, store, usual, partial(store.codes, tap))
        write_index(index, path)
        return {}

    def _blocks(self, store: Store, tap: str, rows: range) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        return store.code_blocks(tap, within=rows)

    def _read(self, path: Path, description: Fingerprint) -> Any:
        faiss = load_faiss()
        index = self._opened(
            path, faiss.IO_FLAG_ONDISK_SAME_DIR if description.get("lists") else faiss.IO_FLAG_MMAP_IFC
        )
        if isinstance(index, faiss.IndexBinaryIVF):
            index.nprobe = min(self.nprobe, index.nlist)
        return index

    def _query(self, handle: Any, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        try:
            hamming, ids = handle.search(
                pack_signs(features), k, params=None if among is None else restricted_binary(handle, among)
            )
        except RuntimeError as error:
            raise UserError(
                f"index {self.factory!r} cannot search {'a part of its rows' if among else 'its rows'} ({reason(error)}); use "
                "BFlat, or no index at all"
            ) from error
        return Neighbors(ids, np.sqrt(4 * hamming.astype(np.float32)))
