"""Rows into a trained index of FAISS, which holds little more than they take there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.storage.allocation import memory_returned


def fill(index: Any, blocks: Callable[[], Iterable[npt.NDArray[Any]]]) -> None:
    """Add rows, as ``index.add`` would.

    A list that grows while it is filled moves to twice the room, again and again: of a million rows in lists of 60 KB,
    a third more was held than they take. So it is counted first what each list will have: rows are read twice, and
    looked up among the lists once.

    Args:
        index: Trained, without rows, of floats or of bits.
        blocks: Returns all rows, ``(n, D)`` float32 or ``(n, D/8)`` uint8 at a time, whenever it is called.

    Raises:
        RuntimeError: If FAISS does not take them.
    """
    faiss = load_faiss()
    grow = isinstance(index, (faiss.IndexIVF, faiss.IndexBinaryIVF))
    lists = faiss.downcast_InvertedLists(index.invlists) if grow else None
    with memory_returned():
        if type(lists) is faiss.ArrayInvertedLists:
            _fill_lists(index, lists, blocks)
        else:
            for block in blocks():
                index.add(np.ascontiguousarray(block))


def _fill_lists(index: Any, lists: Any, blocks: Callable[[], Iterable[npt.NDArray[Any]]]) -> None:
    faiss = load_faiss()
    found = [index.quantizer.search(np.ascontiguousarray(block), 1)[1][:, 0].astype(np.int32) for block in blocks()]
    counts = sum((np.bincount(part[part >= 0], minlength=index.nlist) for part in found), np.zeros(index.nlist, int))
    for number in counts.nonzero()[0].tolist():
        lists.resize(number, int(counts[number]))
        lists.resize(number, 0)  # which keeps the room
    for block, part in zip(blocks(), found, strict=True):
        rows, numbers = np.ascontiguousarray(block), part.astype(np.int64)
        index.add_core(len(rows), faiss.swig_ptr(rows), None, faiss.swig_ptr(numbers))
