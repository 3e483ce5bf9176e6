"""Any index that a FAISS factory string can name."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lit_knn.database.index.base import Index
from lit_knn.database.index.faiss_files import TRAINING_ROWS_PER_LIST, FaissFiles
from lit_knn.database.index.faiss_library import load_faiss, reads_all, reason, write_index
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.plan import default_budget, plan
from lit_knn.database.index.selection import Selection, restricted
from lit_knn.database.store import Store
from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write, undamaged
from lit_knn.storage.fingerprint import Fingerprint, from_text, to_text
from lit_knn.storage.sidecar import REMEDY

if TYPE_CHECKING:
    import faiss

log = logging.getLogger(__name__)
TUNED = "tuned.json"
EXAMPLES = "'Flat', 'IVF4096,Flat', 'IVF4096,PQ32', 'IVF4096,RaBitQ,Refine(SQ8)', 'HNSW32'"
WITHOUT_EFFECT = ("verbose", "efConstruction", "prune_headroom")  # on a search, though FAISS lets them be set
TRAINING_ROWS = 65_536  # 256 for each of the 256 centroids of a product quantizer


class Faiss(FaissFiles):
    """FAISS, Euclidean distance.

    The same seed gives the same file, except for HNSW, whose threads race (``OMP_NUM_THREADS=1`` stops that).
    Product quantizers are trained without polysemous order, so that FAISS's search parameter ``ht`` is of no use.

    Args:
        factory: FAISS's name for the index, such as ``Flat`` (exact: what `Scan` finds, to the bit, as does ``IVF…,Flat``
            that reads all lists), ``IVF4096,PQ32`` or ``HNSW32``. ``auto`` takes
            the most exact one that fits, and measures how many lists it has to read.
        search_parameters: FAISS's names and values, such as ``nprobe``, ``efSearch``, ``k_factor_rf``.
        memory_gb: What an ``auto`` index may take, in GiB; half of the machine's memory by default.
        recall: Which share of the true neighbors an ``auto`` index shall find, if its vectors are good enough for it.
        training_rows: Size of the random sample that the index is trained on; by default 100 for each list of an
            IVF index and at least 65,536, or all rows where there are fewer.
        seed: Of that sample and of k-means.
        device: Where to search; ``auto`` takes the GPUs if there are any and FAISS has this index for them. A part of the
            rows is searched on the CPU in any case, as FAISS's indexes on the GPU need not keep to it.
        gpu_float16: Store vectors on the GPU in half precision.
        gpu_temp_memory_mb: FAISS's scratch memory on each GPU, in MiB; its own choice by default.
        gpu_mode: With several GPUs and one process, ``replicate`` the index on each, or ``shard`` it over them.
        memory_map: Read the file as the search touches it, instead of loading all of it.
    """

    binary = False
    _tuning = False

    def __init__(
        self,
        *,
        factory: str = "Flat",
        search_parameters: dict[str, float] | None = None,
        memory_gb: float | None = None,
        recall: float = 0.95,
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
        if not 0 < recall <= 1 or (memory_gb is not None and memory_gb <= 0):
            raise UserError(f"an index has recall: {recall}, memory_gb: {memory_gb}; (0, 1] and above 0 are accepted")
        self.factory, self.search_parameters = factory, search_parameters or {}
        self.memory_gb, self.recall = memory_gb, recall
        self.training_rows, self.seed = training_rows, seed
        self.device, self.memory_map = device, memory_map
        self.gpu_float16, self.gpu_temp_memory_mb, self.gpu_mode = gpu_float16, gpu_temp_memory_mb, gpu_mode

    @property
    def _is_tuned(self) -> bool:
        """Whether the number of lists that are read was left to be measured."""
        return self.factory == "auto" and "nprobe" not in self.search_parameters

    def _train(self, store: Store, tap: str, path: Path) -> Fingerprint:
        faiss, dimension = load_faiss(), store.schema.dimensions[tap]
        factory = self.factory
        if factory == "auto":
            chosen = plan(len(store), dimension, round(self.memory_gb * 2**30) if self.memory_gb else default_budget())
            log.info("index of %s: %s", tap, chosen)
            factory = chosen.factory
        self._refuse_numbers(factory)
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
        if not index.is_trained:
            usual = max(TRAINING_ROWS_PER_LIST * (0 if ivf is None else ivf.nlist), TRAINING_ROWS)
            self._train_on(index, factory, store, usual, partial(store.features, tap))
        write_index(index, path)
        return {"factory": factory}

    def tune(self, store: Store, tap: str, folder: Path, recall: Callable[[Index], float]) -> None:
        """Find how many lists an ``auto`` index has to read: on the CPU, where FAISS can change it in an opened index."""
        if not self._is_tuned:
            return
        on_cpu = copy.copy(self)
        on_cpu.device, on_cpu._tuning = "cpu", True
        opened = on_cpu.open(store, tap, folder)
        handles = [piece.handle for piece in opened._pieces]
        lists = min((ivf.nlist for ivf in map(load_faiss().try_extract_index_ivf, handles) if ivf), default=0)
        if not lists:
            return
        nprobe = 1
        while True:
            for handle in handles:
                load_faiss().ParameterSpace().set_index_parameter(handle, "nprobe", nprobe)
            if recall(opened) >= self.recall or nprobe == lists:
                break
            nprobe = min(2 * nprobe, lists)
        with atomic_write(folder / TUNED) as unfinished:
            unfinished.write_text(to_text({"training": opened.built["training"], "nprobe": nprobe}))
        log.info("index of %s: reads %d of %d lists", tap, nprobe, lists)

    def _blocks(self, store: Store, tap: str, rows: range) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        return store.feature_blocks(tap, within=rows)

    def _read(self, path: Path, description: Fingerprint) -> Any:
        faiss = load_faiss()
        gpus = 0 if self.device == "cpu" else faiss.get_num_gpus()
        if self.device == "cuda" and not gpus:
            raise UserError("index.device is cuda, but FAISS sees no GPU here: use auto or cpu, or `lit_knn[gpu]`")
        if description.get("lists"):
            flags = faiss.IO_FLAG_ONDISK_SAME_DIR  # mapped in any case
        else:
            flags = faiss.IO_FLAG_MMAP_IFC if self.memory_map and not gpus else 0
        index = self._opened(path, flags)
        parameters: dict[str, float] = {}
        if self._is_tuned and not self._tuning and faiss.try_extract_index_ivf(index):
            parameters = _tuned(path.parent, description["training"])
        parameters |= self.search_parameters
        self.built = {**self.built, "search_parameters": parameters}
        factory = description["chosen"].get("factory", self.factory)
        _set_parameters(index, faiss.ParameterSpace(), parameters, factory)
        if not gpus or (on_gpu := self._on_gpu(index)) is None:
            return index
        _set_parameters(on_gpu, faiss.GpuParameterSpace(), parameters, factory)
        on_cpu = copy.copy(self)
        on_cpu.device = "cpu"
        return OnGpu(on_gpu, reads_all(index), partial(on_cpu._read, path, description))

    def _on_gpu(self, index: faiss.Index) -> faiss.Index | None:
        from lit_knn.database.index.gpu import to_gpu

        try:
            return to_gpu(index, float16=self.gpu_float16, temp_memory_mb=self.gpu_temp_memory_mb, mode=self.gpu_mode)
        except RuntimeError as error:
            problem = f"index {self.factory!r} cannot be searched on the GPU ({reason(error)})"
            if self.device == "cuda":
                raise UserError(f"{problem}; set index.device to cpu or choose another factory") from error
            warnings.warn(f"{problem}: the CPU searches it", stacklevel=2)
            return None

    def _is_exact(self, handle: Any) -> bool:
        return handle.reads_all if isinstance(handle, OnGpu) else reads_all(handle)

    def _query(self, handle: Any, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        if isinstance(handle, OnGpu):
            handle = handle.index if among is None else handle.on_cpu
        parameters = None if among is None else restricted(handle, among)
        try:
            squared, ids = handle.search(features, k, params=parameters)
        except RuntimeError as error:
            if among is None:
                raise UserError(f"index {self.factory!r} cannot find k = {k} neighbors ({reason(error)})") from error
            raise UserError(
                f"index {self.factory!r} cannot search a part of its rows ({reason(error)}); use a Flat, IVF or HNSW "
                "index, or index only those rows"
            ) from error
        return Neighbors(ids, np.sqrt(np.maximum(squared, 0)))  # rounding takes the distance of a copy below 0


class OnGpu:
    """An index on the GPU, and the one on the CPU that it was copied from, mapped when it is asked for.

    FAISS's indexes on the GPU take a selection and may not keep to it (`GpuIndexFlat`, `GpuIndexIVFFlat` and
    `GpuIndexIVFPQ` without cuVS, and `IndexShardsIVF`, in 1.15.1), so the one on the CPU searches a part of the rows.

    Args:
        index: On the GPU.
        reads_all: Whether it compares each query with every row, unshortened.
        on_cpu: Opens the other.
    """

    def __init__(self, index: faiss.Index, reads_all: bool, on_cpu: Callable[[], faiss.Index]) -> None:
        self.index, self.reads_all, self._on_cpu = index, reads_all, on_cpu

    @cached_property
    def on_cpu(self) -> faiss.Index:
        """The index on the CPU."""
        return self._on_cpu()


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


def _set_parameters(
    index: faiss.Index, space: faiss.ParameterSpace, parameters: Mapping[str, float], factory: str
) -> None:
    for name, value in parameters.items():
        if not value >= 1:  # nor NaN
            raise UserError(f"search parameter {name!r} of index {factory!r} is {value}; numbers from 1 are accepted")
        try:
            if name in WITHOUT_EFFECT:
                raise RuntimeError(name)
            space.set_index_parameter(index, name, value)
        except RuntimeError as error:
            raise UserError(
                f"index {factory!r} has no search parameter {name!r}; IVF takes nprobe, HNSW efSearch, Refine k_factor_rf"
            ) from error
