"""Some rows of a store, and how FAISS searches them as if there were no others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.faiss_library import load_faiss


class Window(NamedTuple):
    """The rows that stand next to each other in a random order, as an engine knows them that keeps their places.

    Attributes:
        order_seed: Of the order.
        start: The first place.
        stop: The first place behind them.
    """

    order_seed: int
    start: int
    stop: int


@dataclass(frozen=True)
class Selection:
    """The rows that may be found, a bit for each row of the store: made once for any number of searches.

    Attributes:
        bits: ``(⌈M/8⌉,)`` uint8, the lowest bit of a byte first.
        count: How many are set.
        window: The same rows in a random order, if they were taken from one.
    """

    bits: npt.NDArray[np.uint8]
    count: int
    window: Window | None = None

    @classmethod
    def of(cls, ids: npt.NDArray[np.int64], rows: int) -> Selection:
        """Return a selection of ``ids`` of a store of so many rows."""
        mask = np.zeros(rows, bool)
        mask[ids] = True
        return cls(np.packbits(mask, bitorder="little"), int(mask.sum()))

    @classmethod
    def of_bits(cls, bits: npt.NDArray[np.uint8]) -> Selection:
        """Return the selection that has these bits."""
        return cls(bits, int(np.bitwise_count(bits).sum()))

    def __len__(self) -> int:
        """Return how many rows may be found."""
        return self.count

    def cut(self, rows: range) -> Selection:
        """Return the same rows of a part of the store, which numbers them from 0.

        Args:
            rows: The part; it starts at a multiple of 8.
        """
        bits = self.bits[rows.start // 8 : -(-rows.stop // 8)]  # what follows `stop` in the last byte is never found
        return self if len(bits) == len(self.bits) else Selection.of_bits(bits)

    def mask(self, rows: range) -> npt.NDArray[np.bool_]:
        """Return whether each of consecutive rows may be found."""
        first = rows.start // 8
        bits = np.unpackbits(self.bits[first : -(-rows.stop // 8)], bitorder="little")
        return bits[rows.start - 8 * first : rows.stop - 8 * first].view(bool)

    def outside(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those of some ids of any shape that may not be found; −1 is none."""
        ids = ids[ids >= 0]
        return ids[~self.includes(ids)]

    def includes(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether each of some ids of any shape may be found."""
        included: npt.NDArray[np.bool_] = self.bits[ids // 8] >> (ids % 8).astype(np.uint8) & 1 == 1
        return included

    def ids(self) -> npt.NDArray[np.int64]:
        """Return them, ascending."""
        return np.flatnonzero(np.unpackbits(self.bits, bitorder="little"))

    @cached_property
    def digest(self) -> str:
        """A hash of which, 16 hexadecimal digits."""
        return hashlib.sha256(self.bits.data).hexdigest()[:16]


def increments(nested: Sequence[Selection | None], rows: int) -> list[Selection | None]:
    """Return what each selection adds to the one before, so that no row is in two.

    Args:
        nested: Each has all rows of the one before; None, which can only be the last, is all.
        rows: M.
    """
    found = list(nested[:1])
    for smaller, larger in pairwise(nested):
        if smaller is None:
            raise ValueError("nothing can be added to all rows")
        bits = ~smaller.bits if larger is None else larger.bits & ~smaller.bits
        if larger is None:
            bits[-1] &= 0xFF >> -rows % 8  # the last byte has bits beyond the last row
        found.append(Selection.of_bits(bits))
    return found


def restricted(index: Any, among: Selection) -> Any:
    """Return FAISS's search parameters that allow some rows only, and otherwise are those set in the index.

    Args:
        index: Any FAISS index on the CPU.
        among: Which.
    """
    faiss = load_faiss()
    return _parameters(index, faiss.IDSelectorBitmap(among.bits))  # FAISS's wrapper keeps them alive


def restricted_binary(index: Any, among: Selection) -> Any:
    """Return the same of an index of bits; FAISS refuses them for IVF and hashes."""
    faiss = load_faiss()
    selector = faiss.IDSelectorBitmap(among.bits)
    if isinstance(index, faiss.IndexBinaryHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
    return faiss.SearchParameters(sel=selector)


def _parameters(index: Any, selector: Any) -> Any:
    """FAISS wants the parameters of each layer of a composed index in the class of that layer."""
    faiss = load_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_parameters(index.index, selector))
    if isinstance(index, faiss.IndexRefine):
        base = _parameters(index.base_index, selector)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=base)
    if isinstance(index, faiss.IndexIVF):  # its quantizer keeps its own settings
        common = {"sel": selector, "nprobe": index.nprobe, "max_codes": index.max_codes}
        if isinstance(index, faiss.IndexIVFPQ):
            further = {"polysemous_ht": index.polysemous_ht, "scan_table_threshold": index.scan_table_threshold}
            return faiss.IVFPQSearchParameters(**common, **further)
        if isinstance(index, faiss.IndexIVFRaBitQ):
            return faiss.IVFRaBitQSearchParameters(**common, qb=index.qb)
        return faiss.SearchParametersIVF(**common)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
    return faiss.SearchParameters(sel=selector)
