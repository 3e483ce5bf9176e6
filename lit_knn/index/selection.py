"""Searching some rows of a FAISS index as if there were no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lit_knn.index.faiss_library import load_faiss


def restricted(index: Any, among: npt.NDArray[np.bool_]) -> Any:
    """Return FAISS's search parameters that allow some rows only, and otherwise are those set in the index.

    Args:
        index: Any FAISS index on the CPU.
        among: ``(M,)`` bool, one for each row.
    """
    faiss = load_faiss()
    bits = np.packbits(among, bitorder="little")
    return _parameters(index, faiss.IDSelectorBitmap(bits))  # FAISS's wrapper keeps `bits` alive


def _parameters(index: Any, selector: Any) -> Any:
    """FAISS wants the parameters of each layer of a composed index in the class of that layer."""
    faiss = load_faiss()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=_parameters(index.index, selector))
    if isinstance(index, faiss.IndexRefine):
        base = _parameters(index.base_index, selector)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=base)
    if isinstance(index, faiss.IndexIVF):
        kind = faiss.SearchParametersIVF
        if isinstance(index, faiss.IndexIVFPQ):
            kind = faiss.IVFPQSearchParameters
        elif isinstance(index, faiss.IndexIVFRaBitQ):
            kind = faiss.IVFRaBitQSearchParameters
        return kind(sel=selector, nprobe=index.nprobe)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
    return faiss.SearchParameters(sel=selector)
