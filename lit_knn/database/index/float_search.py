"""Search in an opened FAISS index of floats, on the CPU or on GPUs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_knn.database.index.faiss_library import reads_all, reason
from lit_knn.database.index.file_search import FileSearcher
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.selection import Selection, restricted
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint

if TYPE_CHECKING:
    import faiss

WITHOUT_EFFECT = ("verbose", "efConstruction", "prune_headroom")  # on a search, though FAISS lets them be set


@dataclass(frozen=True)
class FloatFile(FileSearcher):
    """An opened file of floats, on the CPU.

    Attributes:
        index: FAISS's, with its search parameters set.
        factory: Its name.
        parameters: FAISS's names and values.
    """

    index: faiss.Index
    factory: str
    parameters: Mapping[str, float]

    @property
    def exact(self) -> bool:
        """Whether it compares each query with every row, unshortened."""
        return reads_all(self.index)

    @property
    def built(self) -> Fingerprint:
        """The search parameters, some of which may have been measured."""
        return {"search_parameters": dict(self.parameters)}

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return the nearest rows."""
        parameters = None if among is None else restricted(self.index, among)
        try:
            return _euclidean(*self.index.search(features.numpy(), k, params=parameters))
        except RuntimeError as error:
            if among is None:
                raise UserError(f"index {self.factory!r} cannot find k = {k} neighbors ({reason(error)})") from error
            raise UserError(
                f"index {self.factory!r} cannot search a part of its rows ({reason(error)}); use a Flat, IVF or HNSW "
                "index, or index only those rows"
            ) from error


class FloatFileOnGPU(FileSearcher):
    """An index on the GPU, and the file on the CPU that it was copied from, mapped when it is asked for.

    FAISS's indexes on the GPU take a selection and may not keep to it (`GpuIndexFlat`, `GpuIndexIVFFlat` and
    `GpuIndexIVFPQ` without cuVS, and `IndexShardsIVF`, in 1.15.1), so the one on the CPU searches a part of the rows.

    Args:
        index: On the GPU.
        copied: The file on the CPU, or one that was loaded in its place.
        on_cpu: Opens the file.
    """

    def __init__(self, index: faiss.Index, copied: FloatFile, on_cpu: Callable[[], FloatFile]) -> None:
        self.index, self._factory, self._on_cpu = index, copied.factory, on_cpu
        self._exact, self._built = copied.exact, copied.built

    @property
    def exact(self) -> bool:
        """Whether it compares each query with every row, though perhaps in half precision."""
        return self._exact

    @property
    def built(self) -> Fingerprint:
        """That of the file."""
        return self._built

    @cached_property
    def on_cpu(self) -> FloatFile:
        """The file on the CPU."""
        return self._on_cpu()

    def find(self, features: Tensor, k: int, among: Selection | None) -> Neighbors:
        """Return the nearest rows, from the GPU if any may be found."""
        if among is not None:
            return self.on_cpu.find(features, k, among)
        try:
            return _euclidean(*self.index.search(features.numpy(), k))
        except RuntimeError as error:
            raise UserError(f"index {self._factory!r} cannot find k = {k} neighbors ({reason(error)})") from error


def _euclidean(squared: npt.NDArray[np.float32], ids: npt.NDArray[np.int64]) -> Neighbors:
    """Return what FAISS finds with distances, which rounding may take below 0 where a row is a copy."""
    return Neighbors(torch.from_numpy(ids), torch.from_numpy(np.sqrt(np.maximum(squared, 0))))


def set_parameters(
    index: faiss.Index, space: faiss.ParameterSpace, parameters: Mapping[str, float], factory: str
) -> None:
    """Set what a search does in an opened index.

    Args:
        index: FAISS's.
        space: Knows the parameters of indexes on the CPU, or on GPUs.
        parameters: FAISS's names and values.
        factory: FAISS's name for the index.

    Raises:
        UserError: If it has no such parameter, or a value is below 1.
    """
    for name, value in parameters.items():
        if not value >= 1:  # nor NaN
            raise UserError(f"search parameter {name!r} of index {factory!r} is {value}; numbers from 1 are accepted")
        try:
            if name in WITHOUT_EFFECT:
                raise RuntimeError(name)
            space.set_index_parameter(index, name, value)
        except RuntimeError as error:
            raise UserError(
                f"index {factory!r} has no search parameter {name!r}; IVF takes nprobe, HNSW efSearch, Refine "
                "k_factor_rf"
            ) from error
