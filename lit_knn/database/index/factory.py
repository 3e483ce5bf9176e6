"""Any index that a FAISS factory string can name."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from lit_knn.database.index.faiss_files import FaissFormat
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.database.index.file_search import Files
from lit_knn.database.index.files import FileIndex
from lit_knn.database.index.float_search import FloatFile
from lit_knn.database.index.floats import TUNED, Floats
from lit_knn.database.index.opened import OpenIndex
from lit_knn.database.store import Store
from lit_knn.errors import UserError
from lit_knn.storage.atomic import write_text
from lit_knn.storage.fingerprint import to_text

log = logging.getLogger(__name__)


class Faiss(FileIndex):
    """FAISS, Euclidean distance.

    The same seed gives the same file, except for HNSW, whose threads race (``OMP_NUM_THREADS=1`` stops that).
    To a store that has grown, the rows of new shards are added, by the training there is: the index is that of all rows
    added at once. So the first shards have to be like the others; to train anew, delete the folder of the index. It is
    also trained anew where ``auto`` chooses another factory, for four times as many rows. What FAISS cannot merge
    (HNSW, NSG, ``PQ…fs``) gets all rows again.

    Product quantizers are trained without polysemous order, so that FAISS's search parameter ``ht`` is of no use.

    Args:
        factory: FAISS's name for the index, such as ``Flat`` (exact: what `Scan` finds, to the bit, as does
            ``IVF…,Flat`` that reads all lists), ``IVF4096,PQ32`` or ``HNSW32``. ``auto`` takes the most exact one that
            fits, and measures how many lists it has to read.
        search_parameters: FAISS's names and values, such as ``nprobe``, ``efSearch``, ``k_factor_rf``.
        memory_gb: What an ``auto`` index may take, in GiB; half of the machine's memory by default.
        recall: Which share of the true neighbors an ``auto`` index shall find, if its vectors are good enough for it.
        training_rows: Size of the random sample that the index is trained on; by default 100 for each list of an
            IVF index and at least 65,536, or all rows where there are fewer.
        seed: Of that sample and of k-means.
        device: Where to search; ``auto`` takes the GPUs if there are any and FAISS has this index for them. A part of
            the rows is searched on the CPU in any case, as FAISS's indexes on the GPU need not keep to it.
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
        self.recall = recall
        self.vectors = Floats(
            factory=factory,
            search_parameters=search_parameters or {},
            tuned=factory == "auto" and "nprobe" not in (search_parameters or {}),
            memory_gb=memory_gb,
            training_rows=training_rows,
            seed=seed,
            device=device,
            memory_map=memory_map,
            gpu_float16=gpu_float16,
            gpu_temp_memory_mb=gpu_temp_memory_mb,
            gpu_mode=gpu_mode,
        )

    @property
    def file_format(self) -> FaissFormat:
        """FAISS's, of floats."""
        return FaissFormat(self.vectors)

    def tune(self, store: Store, tap: str, folder: Path, recall: Callable[[OpenIndex], float]) -> None:
        """Find how many lists an ``auto`` index has to read: on the CPU, where FAISS can change it in an open index."""
        if not self.vectors.tuned:
            return
        untuned = copy.copy(self)
        untuned.vectors = replace(self.vectors, device="cpu", tuned=False)
        opened = untuned.open(store, tap, folder)
        indexes = [cast(FloatFile, file).index for file, _ in cast(Files, opened.searcher).opened]
        lists = min((ivf.nlist for ivf in map(load_faiss().try_extract_index_ivf, indexes) if ivf), default=0)
        if not lists:
            return
        nprobe = 1
        while True:
            for index in indexes:
                load_faiss().ParameterSpace().set_index_parameter(index, "nprobe", nprobe)
            if recall(opened) >= self.recall or nprobe == lists:
                break
            nprobe = min(2 * nprobe, lists)
        write_text(folder / TUNED, to_text({"training": opened.built["training"], "nprobe": nprobe}))
        log.info("index of %s: reads %d of %d lists", tap, nprobe, lists)
