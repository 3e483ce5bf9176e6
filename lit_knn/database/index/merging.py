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
from lit_knn.database.index.file_format import LISTS


def merge(
    trained: Path,
    parts: Sequence[tuple[Path, range]],
    path: Path,
    lists: Path,
    final: Path,
    *,
    binary: bool = False,
) -> None:
    """Merge the files of parts.

    Args:
        trained: The empty index from which all parts were made.
        parts: Each with its rows of the store; it numbers them from 0.
        path: Where to write the index.
        lists: Where to write its inverted lists, if it has any.
        final: Where these will be, beside the index.
        binary: Whether they are indexes of bits.

    Raises:
        RuntimeError: If FAISS cannot merge this kind of index.
    """
    faiss = load_faiss()
    require_mergeable(merged := read_index(trained, binary=binary))
    beside = faiss.IO_FLAG_ONDISK_SAME_DIR  # where an index that was merged before has its lists
    for number, layer in enumerate(_layers(merged)):
        if isinstance(layer, (faiss.IndexIVF, faiss.IndexBinaryIVF)):
            flags = [beside if part.with_suffix(LISTS).exists() else faiss.IO_FLAG_MMAP for part, _ in parts]
            mapped = [read_index(part, binary=binary, flags=how) for (part, _), how in zip(parts, flags, strict=True)]
            first_rows = [rows.start for _, rows in parts]
            _merge_lists(layer, [_layers(part)[number] for part in mapped], first_rows, lists, final.name)
        else:
            for part, _ in parts:  # FAISS empties what it merges, which a mapped file does not survive
                loaded = read_index(part, binary=binary, flags=beside)
                if isinstance(layer, faiss.IndexBinaryFlat):  # which FAISS cannot merge
                    layer.add(faiss.vector_to_array(loaded.xb).reshape(-1, layer.code_size))
                else:
                    layer.merge_from(_layers(loaded)[number])
    _count(merged, sum(len(rows) for _, rows in parts))
    write_index(merged, path)


def require_mergeable(index: Any) -> None:
    """Refuse indexes that cannot be merged.

    Raises:
        RuntimeError: If FAISS cannot merge this kind of index.
    """
    faiss = load_faiss()
    for layer in _layers(index):
        if isinstance(layer, (faiss.IndexIVF, faiss.IndexBinaryIVF)):
            plain = isinstance(faiss.downcast_InvertedLists(layer.invlists), faiss.ArrayInvertedLists)
            if not plain:
                raise RuntimeError("its lists are interleaved for fast scan")  # FAISS 1.15.1 corrupts memory instead
        elif not isinstance(layer, faiss.IndexBinaryFlat):  # which FAISS cannot merge, but is a list of codes
            layer.check_compatible_for_merge(layer)


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


def _merge_lists(merged: Any, parts: Sequence[Any], first_rows: Sequence[int], lists: Path, name: str) -> None:
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
    on_disk.filename = name  # what the index file will say; the folder is that of the index
    merged.replace_invlists(on_disk, True)
    on_disk.this.disown()
