"""Floats in FAISS: how an index of them is made, and opened on the CPU or on GPUs."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.faiss_files import TRAINING_ROWS_PER_LIST, Empty, Vectors, opened, refuse_numbers
from lit_knn.database.index.faiss_library import load_faiss, reason
from lit_knn.database.index.file_search import FileSearcher
from lit_knn.database.index.float_search import FloatFile, FloatFileOnGPU, set_parameters
from lit_knn.database.index.plan import default_budget, plan
from lit_knn.database.store import Store
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint, from_text
from lit_knn.storage.reading import undamaged
from lit_knn.storage.sidecar import REMEDY

if TYPE_CHECKING:
    import faiss

log = logging.getLogger(__name__)
TUNED = "tuned.json"
EXAMPLES = "'Flat', 'IVF4096,Flat', 'IVF4096,PQ32', 'IVF4096,RaBitQ,Refine(SQ8)', 'HNSW32'"
TRAINING_ROWS = 65_536  # 256 for each of the 256 centroids of a product quantizer


@dataclass(frozen=True, kw_only=True)
class Floats(Vectors):
    """Features as they are; see `lit_knn.database.index.factory.Faiss` for further attributes.

    Attributes:
        tuned: Whether the number of lists that are read was left to be measured.
    """

    factory: str
    search_parameters: Mapping[str, float]
    tuned: bool
    memory_gb: float | None
    training_rows: int | None
    seed: int
    device: Literal["auto", "cpu", "cuda"]
    memory_map: bool
    gpu_float16: bool
    gpu_temp_memory_mb: int | None
    gpu_mode: Literal["replicate", "shard"]
    binary = False

    def empty(self, store: Store, tap: str) -> Empty:
        """Return a new index, of the factory that was chosen if it is ``auto``.

        Raises:
            UserError: If FAISS has none of that name, or none fits into memory.
        """
        faiss, dimension = load_faiss(), store.schema.dimensions[tap]
        factory = self.factory
        if factory == "auto":
            chosen = plan(len(store), dimension, round(self.memory_gb * 2**30) if self.memory_gb else default_budget())
            log.info("index of %s: %s", tap, chosen)
            factory = chosen.factory
        refuse_numbers(factory)
        try:
            index = faiss.index_factory(dimension, factory, faiss.METRIC_L2)
        except RuntimeError as error:
            raise UserError(
                f"FAISS has no index {factory!r} for {dimension} dimensions ({reason(error)}); index.factory takes for "
                f"example {EXAMPLES}"
            ) from error
        ivf = faiss.try_extract_index_ivf(index)
        if ivf is not None:
            ivf.cp.seed = self.seed
            quantized = faiss.downcast_index(ivf)
            if isinstance(quantized, faiss.IndexIVFPQ):
                quantized.do_polysemous_training = False  # nine tenths of the time, for search parameter `ht` only
        usual = max(TRAINING_ROWS_PER_LIST * (0 if ivf is None else ivf.nlist), TRAINING_ROWS)
        return Empty(index, factory, usual, {"factory": factory})

    def rows(self, store: Store, tap: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the features of some rows."""
        return store.features(tap, ids)

    def blocks(self, store: Store, tap: str, rows: range) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Yield the features of consecutive rows."""
        return store.feature_blocks(tap, within=rows)

    def open(self, path: Path, description: Fingerprint) -> FileSearcher:
        """Open a file on the GPUs, if there are any that can search it, else on the CPU.

        Raises:
            UserError: If a search parameter is wrong, or a GPU is asked for and cannot search it.
        """
        gpus = 0 if self.device == "cpu" else load_faiss().get_num_gpus()
        if self.device == "cuda" and not gpus:
            raise UserError("index.device is cuda, but FAISS sees no GPU here: use auto or cpu, or `lit_knn[gpu]`")
        on_cpu = self._on_cpu(path, description, mapped=self.memory_map and not gpus)
        copy = self._copied(on_cpu.index) if gpus else None
        if copy is None:
            return on_cpu
        set_parameters(copy, load_faiss().GpuParameterSpace(), on_cpu.parameters, on_cpu.factory)
        mapped = partial(self._on_cpu, path, description, mapped=self.memory_map)
        return FloatFileOnGPU(copy, on_cpu, mapped)

    def _on_cpu(self, path: Path, description: Fingerprint, *, mapped: bool) -> FloatFile:
        faiss = load_faiss()
        index = opened(path, description, binary=False, mapped=mapped)
        parameters: dict[str, float] = {}
        if self.tuned and faiss.try_extract_index_ivf(index):
            parameters = _tuned(path.parent, description["training"])
        parameters |= self.search_parameters
        factory = description["chosen"].get("factory", self.factory)
        set_parameters(index, faiss.ParameterSpace(), parameters, factory)
        return FloatFile(index, factory, parameters)

    def _copied(self, index: faiss.Index) -> faiss.Index | None:
        """Return a copy on the GPUs, None if FAISS has no such index for them and the CPU will do."""
        from lit_knn.database.index.gpu import to_gpu

        try:
            return to_gpu(index, float16=self.gpu_float16, temp_memory_mb=self.gpu_temp_memory_mb, mode=self.gpu_mode)
        except RuntimeError as error:
            problem = f"index {self.factory!r} cannot be searched on the GPU ({reason(error)})"
            if self.device == "cuda":
                raise UserError(f"{problem}; set index.device to cpu or choose another factory") from error
            warnings.warn(f"{problem}: the CPU searches it", stacklevel=2)
            return None


def _tuned(folder: Path, training: str) -> dict[str, float]:
    """Return the search parameters that were found for a training.

    Raises:
        UserError: If none were.
    """
    path = folder / TUNED
    with undamaged(path, f"{REMEDY} again"):
        found = from_text(path.read_bytes())
    if found.pop("training") != training:
        raise UserError(f"{path} is not what this index was tuned to; {REMEDY} again")
    return found
