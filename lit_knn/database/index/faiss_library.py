"""FAISS comes through extras, since the two wheels that provide it overwrite each other's files."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

from lit_knn.errors import UserError

BLAS_THRESHOLD = 1024  # queries × dimensions from which exact search multiplies matrices; FAISS 1.15 waits for 128,000


@functools.cache
def load_faiss() -> ModuleType:
    """Import FAISS.

    Raises:
        UserError: If it is not installed, or broken.
    """
    wheels = set(importlib.metadata.packages_distributions().get("faiss", []))
    if len(wheels) > 1:
        warnings.warn(
            f"{' and '.join(sorted(wheels))} are installed and overwrite each other: uninstall both, reinstall one",
            stacklevel=2,
        )
    try:
        faiss = importlib.import_module("faiss")
    except ImportError as error:
        raise UserError(
            f"FAISS cannot be imported ({error}): install one of `pip install lit_knn[cpu]`, `lit_knn[gpu]`, "
            "`lit_knn[cuvs]`"
        ) from error
    if not hasattr(faiss, "index_factory"):  # uninstalling one wheel takes files of the other with it
        raise UserError(
            "FAISS is broken: uninstall every faiss wheel, then `pip install lit_knn[cpu]` or `lit_knn[gpu]`"
        )
    faiss.cvar.distance_compute_blas_threshold = min(faiss.cvar.distance_compute_blas_threshold, BLAS_THRESHOLD)
    return faiss


def read_index(path: Path, *, binary: bool = False, flags: int = 0) -> Any:
    """Read a file that `write_index` wrote.

    Args:
        path: Of the file.
        binary: Whether it is an index of bits.
        flags: FAISS's, on mapping.

    Raises:
        RuntimeError: If FAISS cannot make sense of it.
    """
    faiss = load_faiss()
    return (faiss.read_index_binary if binary else faiss.read_index)(str(path), flags)


def write_index(index: Any, path: Path) -> None:
    """Write an index, of floats or of bits.

    Raises:
        OSError: If FAISS notices that it cannot; a file that is cut it may not notice.
    """
    faiss = load_faiss()
    try:
        (faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index)(index, str(path))
    except RuntimeError as error:
        raise OSError(reason(error)) from error


def reason(error: RuntimeError) -> str:
    """Return what FAISS says, without where in its source it says so."""
    return str(error).splitlines()[0].rpartition(": ")[2]


def reads_all(index: Any) -> bool:
    """Return whether an index on the CPU compares each query with every row, unshortened."""
    faiss = load_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexIVFFlat):
        lists = isinstance(faiss.downcast_index(index.quantizer), faiss.IndexFlat) and index.nprobe >= index.nlist
        return lists and not index.max_codes
    return isinstance(index, faiss.IndexFlat)
