"""FAISS indexes of consecutive rows, trained as one, to one index of all rows.

Inverted lists go straight from file to file, so that memory does not have to hold them. What lies outside of lists (the
codes of Flat or SQ8, or of a Refine behind an IVF) is held in memory while it is appended, part by part.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_knn.database.index.faiss_library import load_faiss, read_index, write_index


def merge(
    trained: Path,
    parts: Sequence[tuple[Path, range]],
    path: Path,
    lists: Path,
    *,
    binary: bool = False,
) -> None:
    """Merge the files of parts.

    Args:
        trained: The empty index from which all parts were made.
        parts: Each with its rows of the store; it numbers them from 0.
        path: Where to write the index.
        lists: Where to write its inverted lists, if it has any; they are found later as the ``.ivfdata`` beside the
            final name ``merged.faiss``.
        binary: Whether they are indexes of bits.

    Raises:
        RuntimeError: If FAISS cannot merge this kind of index.
    """
    faiss = load_faiss()
    merged = read_index(trained, binary=binary)
    for number, layer in enumerate(_layers(merged)):
        if isinstance(layer, (faiss.IndexIVF, faiss.IndexBinaryIVF)):
            plain = isinstance(faiss.downcast_InvertedLists(layer.invlists), faiss.ArrayInvertedLists)
            if not plain:
                raise RuntimeError("its lists are interleaved for fast scan")  # FAISS 1.15.1 corrupts memory instead
            mapped = [read_index(part, binary=binary, flags=faiss.IO_FLAG_MMAP) for part, _ in parts]
            first_rows = [rows.start for _, rows in parts]
            _merge_lists(layer, [_layers(part)[number] for part in mapped], first_rows, lists)
        else:
            for part, _ in parts:
                loaded = read_index(
                    part, binary=binary
                )  # FAISS empties what it merges, which a mapped file does not survive
                if isinstance(layer, faiss.IndexBinaryFlat):  # which FAISS cannot merge
                    layer.add(faiss.vector_to_array(loaded.xb).reshape(-1, layer.code_size))
                else:
                    layer.merge_from(_layers(loaded)[number])
    _count(merged, sum(len(rows) for _, rows in parts))
    write_index(merged, path)


def _layers(index: Any) -> list[Any]:
    """Return the parts of a composed index that hold rows."""
    faiss = load_faiss()
    if isinstance(index, faiss.IndexBinary):
        return [index]
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return _layers(index.index)
    if isinstance(index, faiss.IndexRefine):
        return _layers(index.base_index) + _layers(index.refine_index)
    return [index]


def _count(index: Any, rows: int) -> None:
    """Tell every layer how many rows there are."""
    faiss = load_faiss()
    index.ntotal = rows
    if isinstance(index, faiss.IndexBinary):
        return
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        _count(index.index, rows)
    if isinstance(index, faiss.IndexRefine):
        _count(index.base_index, rows)
        _count(index.refine_index, rows)


def _merge_lists(merged: Any, parts: Sequence[Any], first_rows: Sequence[int], lists: Path) -> None:
    faiss = load_faiss()
    pointers = faiss.InvertedListsPtrVector()
    for part in parts:
        pointers.push_back(part.invlists)
    on_disk = faiss.OnDiskInvertedLists(merged.nlist, merged.code_size, str(lists))
    on_disk.merge_from_multiple(pointers.data(), pointers.size())
    for number in range(merged.nlist):  # FAISS's own shift_ids is wrong for parts of different sizes (1.15.1)
        lengths = [part.invlists.list_size(number) for part in parts]
        ids = faiss.rev_swig_ptr(on_disk.get_ids(number), sum(lengths))
        ids += np.repeat(np.asarray(first_rows, np.int64), lengths)
    on_disk.filename = "merged.ivfdata"  # what the index file will say; the folder is that of the index
    merged.replace_invlists(on_disk, True)
    on_disk.this.disown()
