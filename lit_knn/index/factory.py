"""Any index that a FAISS factory string can name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lit_knn.errors import UserError
from lit_knn.index.base import Neighbors
from lit_knn.index.faiss_library import load_faiss, reason
from lit_knn.index.files import FileIndex
from lit_knn.index.merging import merge
from lit_knn.index.selection import Selection, restricted
from lit_knn.index.sidecar import Description
from lit_knn.store import Store

if TYPE_CHECKING:
    import faiss

EXAMPLES = "'Flat', 'IVF4096,Flat', 'IVF4096,PQ32', 'IVF4096,RaBitQ,Refine(SQ8)', 'HNSW32'"
TRAINING_ROWS_PER_LIST = 100  # FAISS warns below 39 and ignores those above 256
TRAINING_ROWS = 65_536  # 256 for each of the 256 centroids of a product quantizer


class Faiss(FileIndex):
    """FAISS, Euclidean distance.

    The same seed gives the same file, except for HNSW, whose threads race (``OMP_NUM_THREADS=1`` stops that).
    Product quantizers are trained without polysemous order, so that FAISS's search parameter ``ht`` is of no use.

    Args:
        factory: FAISS's name for the index, such as ``Flat`` (exact), ``IVF4096,PQ32`` or ``HNSW32``.
        search_parameters: FAISS's names and values, such as ``nprobe``, ``efSearch``, ``k_factor_rf``.
        training_rows: Size of the random sample that the index is trained on; by default 100 for each list of an
            IVF index and at least 65,536, or all rows where there are fewer.
        seed: Of that sample and of k-means.
        device: Where to search; ``auto`` takes the GPUs if there are any and FAISS has this index for them.
        gpu_float16: Store vectors on the GPU in half precision.
        gpu_temp_memory_mb: FAISS's scratch memory on each GPU, in MiB; its own choice by default.
        gpu_mode: With several GPUs and one process, ``replicate`` the index on each, or ``shard`` it over them.
        memory_map: Read the file as the search touches it, instead of loading all of it.
    """

    def __init__(
        self,
        *,
        factory: str = "Flat",
        search_parameters: dict[str, float] | None = None,
        training_rows: int | None = None,
        seed: int = 0,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        gpu_float16: bool = False,
        gpu_temp_memory_mb: int | None = None,
        gpu_mode: Literal["replicate", "shard"] = "replicate",
        memory_map: bool = True,
    ) -> None:
        if training_rows is not None and training_rows < 1:
            raise UserError(f"training_rows of an index takes a number from 1, not {training_rows}")
        self.factory, self.search_parameters = factory, search_parameters or {}
        self.training_rows, self.seed = training_rows, seed
        self.device, self.memory_map = device, memory_map
        self.gpu_float16, self.gpu_temp_memory_mb, self.gpu_mode = gpu_float16, gpu_temp_memory_mb, gpu_mode

    @property
    def settings(self) -> dict[str, Any]:
        """What the file depends on; search parameters and devices may change without building again."""
        return {"factory": self.factory, "training_rows": self.training_rows, "seed": self.seed}

    def _train(self, store: Store, tap: str, path: Path) -> Description:
        faiss = load_faiss()
        try:
            index = faiss.index_factory(store.schema.dimensions[tap], self.factory, faiss.METRIC_L2)
        except RuntimeError as error:
            raise UserError(
                f"FAISS has no index {self.factory!r} for {store.schema.dimensions[tap]} dimensions "
                f"({reason(error)}); index.factory takes for example {EXAMPLES}"
            ) from error
        ivf = faiss.try_extract_index_ivf(index)
        if ivf is not None:
            ivf.cp.seed = self.seed
            quantized = faiss.downcast_index(ivf)
            if isinstance(quantized, faiss.IndexIVFPQ):
                quantized.do_polysemous_training = False  # nine tenths of the time, for search parameter `ht` only
        if not index.is_trained:
            sample = self._sample(len(store), 0 if ivf is None else ivf.nlist)
            try:
                index.train(store.features(tap, sample))
            except RuntimeError as error:
                raise UserError(
                    f"index {self.factory!r} cannot be trained on {len(sample)} of the {len(store)} rows of {store.folder} "
                    f"({reason(error)}); choose a smaller one or raise index.training_rows"
                ) from error
        faiss.write_index(index, str(path))
        return {}

    def _add(self, store: Store, tap: str, trained: Path, rows: range, path: Path) -> None:
        faiss = load_faiss()
        index = faiss.read_index(str(trained))
        for _, block in store.feature_blocks(tap, within=rows):
            index.add(block)
        faiss.write_index(index, str(path))

    def _merge(self, trained: Path, parts: Sequence[tuple[Path, range]], path: Path, lists: Path) -> None:
        try:
            merge(trained, parts, path, lists)
        except RuntimeError as error:
            raise UserError(
                f"index {self.factory!r} cannot be merged ({reason(error)}); build it without --part, or search its parts "
                "with Sharded"
            ) from error

    def _sample(self, rows: int, lists: int) -> npt.NDArray[np.int64]:
        wanted = self.training_rows or max(TRAINING_ROWS_PER_LIST * lists, TRAINING_ROWS)
        if wanted >= rows:
            return np.arange(rows)
        return np.sort(np.random.default_rng(self.seed).choice(rows, wanted, replace=False))

    def _read(self, path: Path, description: Description) -> Any:
        faiss = load_faiss()
        gpus = 0 if self.device == "cpu" else faiss.get_num_gpus()
        if self.device == "cuda" and not gpus:
            raise UserError("index.device is cuda, but FAISS sees no GPU here: use auto or cpu, or `lit_knn[gpu]`")
        if description.get("lists"):
            flags = faiss.IO_FLAG_ONDISK_SAME_DIR  # mapped in any case
        else:
            flags = faiss.IO_FLAG_MMAP_IFC if self.memory_map and not gpus else 0
        try:
            index = faiss.read_index(str(path), flags)
        except RuntimeError as error:
            raise UserError(f"index {path} is damaged ({reason(error)}); run `lit-knn index` again") from error
        space = faiss.ParameterSpace()
        if gpus and (copy := self._on_gpu(index)) is not None:
            index, space = copy, faiss.GpuParameterSpace()
        _set_parameters(index, space, self.search_parameters, self.factory)
        return index

    def _on_gpu(self, index: faiss.Index) -> faiss.Index | None:
        from lit_knn.index.gpu import to_gpu

        try:
            return to_gpu(index, float16=self.gpu_float16, temp_memory_mb=self.gpu_temp_memory_mb, mode=self.gpu_mode)
        except RuntimeError as error:
            problem = f"index {self.factory!r} cannot be searched on the GPU ({reason(error)})"
            if self.device == "cuda":
                raise UserError(f"{problem}; set index.device to cpu or choose another factory") from error
            warnings.warn(f"{problem}: the CPU searches it", stacklevel=2)
            return None

    def _query(self, handle: Any, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        parameters = None if among is None else restricted(handle, among)
        try:
            squared, ids = handle.search(features, k, params=parameters)
        except RuntimeError as error:
            raise UserError(
                f"index {self.factory!r} cannot search a part of its rows ({reason(error)}); use a Flat, IVF or HNSW "
                "index on the CPU, or index only those rows"
            ) from error
        return Neighbors(ids, np.sqrt(np.maximum(squared, 0)))  # rounding takes the distance of a copy below 0


def _set_parameters(
    index: faiss.Index, space: faiss.ParameterSpace, parameters: Mapping[str, float], factory: str
) -> None:
    for name, value in parameters.items():
        try:
            space.set_index_parameter(index, name, value)
        except RuntimeError as error:
            raise UserError(
                f"index {factory!r} has no search parameter {name!r}; IVF takes nprobe, HNSW efSearch, Refine k_factor_rf"
            ) from error
