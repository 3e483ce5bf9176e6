"""Search among vectors in a folder of their own: exactly, or by an index of FAISS that reads as much as it has to."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lit_knn.database.index.exact import scan
from lit_knn.database.index.faiss_files import TRAINING_ROWS_PER_LIST, refuse_numbers, sample
from lit_knn.database.index.faiss_library import load_faiss, reason, write_index
from lit_knn.database.index.file_search import FileSearcher
from lit_knn.database.index.floats import Floats
from lit_knn.database.index.neighbors import Neighbors
from lit_knn.database.index.plan import default_budget, plan
from lit_knn.database.index.second_look import measured
from lit_knn.errors import UserError
from lit_knn.storage.reading import parse_json

log = logging.getLogger(__name__)
FILE, MEASURED = "patches.faiss", "search.json"
FORM = {"factory": str, "nprobe": int, "recall": float}
QUERIES, K = 500, 10  # of which recall is measured
BLOCK = 16_384  # rows that are compared at a time
EXACT = "Flat"


class VectorSearch:
    """The nearest of M vectors.

    Args:
        vectors: ``(M, D)`` float32, on the CPU, in memory or mapped.
        searcher: What finds them; None compares all, which is exact.
    """

    def __init__(self, vectors: Tensor, searcher: FileSearcher | None = None) -> None:
        self.vectors, self._searcher = vectors, searcher

    def nearest(self, queries: Tensor, k: int) -> Neighbors:
        """Return the k nearest vectors of each query, where the queries lie.

        Args:
            queries: ``(N, D)`` float, compared as float32. FAISS takes them through the CPU, also where a GPU searches;
                exact search compares on the device of the queries.
            k: How many, at most M.
        """
        features = queries.detach().float().contiguous()
        found = self._found(features, k)
        short = (found.ids < 0).any(dim=1)
        if short.any():  # the lists that were read have fewer than k vectors
            for part, exact in zip(found, self._exact(features[short], k), strict=True):
                part[short] = exact
        return found

    def _found(self, features: Tensor, k: int) -> Neighbors:
        """Return what is found, ids −1 where that is less than k."""
        if self._searcher is None:
            return self._exact(features, k)
        return self._searcher.find(features.cpu(), k, None).to(features.device)

    def _exact(self, features: Tensor, k: int) -> Neighbors:
        return scan(self._blocks(), features, k, [None], features.device.type)[0]

    def _blocks(self) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        rows = self.vectors.numpy()
        yield from ((first, rows[first : first + BLOCK]) for first in range(0, len(rows), BLOCK))

    def others(self, rows: Tensor, k: int) -> Tensor:
        """Return the true distances ``(N, k)`` float32 of what is found for some of the vectors, ascending.

        They are infinite where less than k is found.

        Args:
            rows: ``(N,)`` int64, those that are looked for; none finds itself.
            k: How many, below M.
        """
        features = self.vectors[rows]
        ids = self._found(features, k + 1).ids
        itself = (ids == rows[:, None]).byte()
        ids = ids.gather(1, itself.argsort(dim=1, stable=True)[:, :k])
        return measured(features, ids, lambda wanted: self.vectors.numpy()[wanted]).distances.sort(dim=1).values


def build_search(vectors: npt.NDArray[np.float32], folder: Path, *, factory: str, recall: float, seed: int) -> None:
    """Write an index of vectors, and how many of its lists have to be read.

    Args:
        vectors: ``(M, D)``.
        folder: Where files go.
        factory: FAISS's name of the index; ``Flat`` writes none, as all vectors are compared; ``auto`` does up to
            20,000, and takes IVF beyond.
        recall: Share of the 10 nearest that is to be found, where the index has lists to be read.
        seed: Of training.

    Raises:
        UserError: If FAISS has no such index, or there are too few vectors to train it.
    """
    if factory == "auto":
        factory = plan(len(vectors), vectors.shape[1], default_budget()).factory
    lists, nprobe, found = 0, 0, 1.0
    if factory != EXACT:
        index = _trained(vectors, factory, seed)
        index.add(vectors)
        write_index(index, folder / FILE)
        lists = getattr(load_faiss().try_extract_index_ivf(index), "nlist", 0)
        nprobe, found = _tuned(vectors, folder / FILE, factory, lists, recall)
    reads = f"reads {nprobe} of {lists} lists and " if lists else ""
    log.info("index %s of %d patches: %sfinds %.3f of the %d nearest", factory, len(vectors), reads, found, K)
    (folder / MEASURED).write_text(json.dumps({"factory": factory, "nprobe": nprobe, "recall": found}))


def open_search(vectors: Tensor, folder: Path) -> tuple[VectorSearch, float]:
    """Return what `build_search` has built, on GPUs where FAISS sees some, and the recall that was measured then."""
    found = parse_json((folder / MEASURED).read_text(), FORM)
    if found["factory"] == EXACT:
        return VectorSearch(vectors), found["recall"]
    searcher = _searcher(folder / FILE, found["factory"], found["nprobe"], device="auto")
    return VectorSearch(vectors, searcher), found["recall"]


def _tuned(vectors: npt.NDArray[np.float32], path: Path, factory: str, lists: int, recall: float) -> tuple[int, float]:
    """Return how many of its lists an index has to read, and the recall then; all where it is not reached before.

    Distances count, not ids: of patches that are equally far, as copies are, any is as good as another.
    """
    held, k = torch.from_numpy(vectors), min(K, len(vectors) - 1)
    rows = torch.from_numpy(sample(len(vectors), QUERIES, 0))
    farthest = VectorSearch(held).others(rows, k)[:, -1:]
    nprobe = min(1, lists)
    while True:
        distances = VectorSearch(held, _searcher(path, factory, nprobe)).others(rows, k)
        found = float((distances <= farthest).double().mean())
        if found >= recall or nprobe >= lists:
            return nprobe, found
        nprobe = min(2 * nprobe, lists)


def _trained(vectors: npt.NDArray[np.float32], factory: str, seed: int) -> Any:
    """Return an empty index."""
    faiss = load_faiss()
    refuse_numbers(factory)
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_L2)
    except RuntimeError as error:
        raise UserError(
            f"FAISS has no index {factory!r} for {vectors.shape[1]} dimensions ({reason(error)}); patches.index takes "
            "auto, Flat or for example IVF4096,Flat"
        ) from error
    ivf = faiss.try_extract_index_ivf(index)
    wanted = 65_536
    if ivf is not None:
        ivf.cp.seed = seed
        wanted = max(wanted, TRAINING_ROWS_PER_LIST * ivf.nlist)
    try:
        index.train(vectors[sample(len(vectors), wanted, seed)])
    except RuntimeError as error:
        raise UserError(
            f"index {factory!r} cannot be trained on {len(vectors):,} patches ({reason(error)}); choose a smaller one"
        ) from error
    return index


def _searcher(path: Path, factory: str, nprobe: int, device: Literal["auto", "cpu"] = "cpu") -> FileSearcher:
    """Return a file, opened."""
    opener = Floats(
        factory=factory,
        search_parameters={"nprobe": nprobe} if nprobe else {},
        tuned=False,
        memory_gb=None,
        training_rows=None,
        seed=0,
        device=device,
        memory_map=True,
        gpu_float16=False,
        gpu_temp_memory_mb=None,
        gpu_mode="replicate",
    )
    return opener.open(path, {"chosen": {"factory": factory}})
