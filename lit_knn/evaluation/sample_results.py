"""What became of each query, kept batch by batch, so that an interrupted test goes on where it stopped.

A batch's composition does not depend on the number of processes, so another number of them can go on with a run.
They belong to one run, database, K and weighting included; :mod:`lit_knn.evaluation.cache` is upstream of them and for all runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write, load_arrays, undamaged, write_arrays
from lit_knn.storage.fingerprint import Fingerprint, digest, fingerprint_difference, from_text, to_text

REMEDY = "delete it, and the same test attacks its batch again"
BATCH = {"batch": ("U16", 0)}
FORM = {
    "id": ("int64", 1),
    "hits": ("bool", 5),
    "realized": ("float32", 3),
    "realized_normalized": ("float32", 3),
    "right": ("bool", 1),
    "stored": ("bool", 1),
    "flat": ("bool", 3),
}


class Outcome(NamedTuple):
    """One batch of N queries in A cases (threat and attack) at E sizes of perturbation.

    Attributes:
        hits: ``(A, E, N, V, T)`` bool: does defense variant v have the true class among its top k?
        realized: ``(A, E, N)`` float32, Δ in pixels.
        realized_normalized: ``(A, E, N)`` float32, Δ in the classifier's normalized space.
        right: ``(N,)`` bool: is the classifier itself right about the clean image?
        stored: ``(N,)`` bool: has the database a row of the image itself?
        flat: ``(A, E, N)`` bool: was the gradient zero wherever the attack looked?
    """

    hits: Tensor
    realized: Tensor
    realized_normalized: Tensor
    right: Tensor
    stored: Tensor
    flat: Tensor

    @property
    def cells(self) -> list[Tensor]:
        """What each case and size has of its own."""
        return [self.hits, self.realized, self.realized_normalized]

    def worst_case(self) -> Outcome:
        """Return what becomes of each query when the attacker takes, for each variant, the case that breaks it.

        Returns:
            One case, A = 1: a hit where no case breaks it, and the largest realized Δ.
        """
        return self._replace(
            hits=self.hits.all(dim=0, keepdim=True),
            realized=self.realized.amax(dim=0, keepdim=True),
            realized_normalized=self.realized_normalized.amax(dim=0, keepdim=True),
        )


class Outcomes:
    """A folder with one sealed file per batch.

    Args:
        folder: Created if it does not exist.
        fingerprint: What the outcomes depend on, but for the images: each file is told by a hash of its own.
        shape: Their A, E, V and T.

    Raises:
        UserError: If the folder holds the outcomes of something else.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint, shape: tuple[int, int, int, int]) -> None:
        self.folder, self.shape = folder, shape
        self._fingerprint = fingerprint
        origin = folder / "origin.json"
        if not origin.exists():
            with atomic_write(origin) as unfinished:
                unfinished.write_text(to_text(fingerprint))
        with undamaged(origin, f"delete {folder} and run the same test again"):
            found = from_text(origin.read_bytes())
        if difference := fingerprint_difference(fingerprint, found):
            raise UserError(f"{folder} holds the outcomes of another run: {difference}; choose another trainer.run")

    def tied(self, batch: str) -> str:
        """Return the hash of a batch for files of this run: one of another run is told, wherever it was put.

        Args:
            batch: A hash of its images, labels and ids.
        """
        return digest([self._fingerprint, batch])

    def load(self, ids: Tensor, batch: str) -> Outcome | None:
        """Return what became of a batch, on the device of its ids, or None.

        Args:
            ids: ``(N,)`` int64.
            batch: A hash of its images, labels and ids, and of the run: see `tied`.

        Raises:
            UserError: If the file is damaged, or of other images or another run.
        """
        path = batch_path(self.folder, ids)
        if not path.exists():
            return None
        require_batch(path, load_arrays(path, REMEDY, BATCH), batch)
        return Outcome(*(part.to(ids.device) for part in self._read(path)[1]))

    def __iter__(self) -> Iterator[tuple[list[int], Outcome]]:
        """Yield the ids and the outcome of each finished batch, by the first id."""
        for path in sorted(self.folder.glob("*.npz")):
            yield self._read(path)

    def save(self, ids: Tensor, batch: str, outcome: Outcome) -> None:
        """Keep what became of a batch; see `load`."""
        arrays = {name: value.cpu().numpy() for name, value in outcome._asdict().items()}
        write_arrays(batch_path(self.folder, ids), {"id": ids.cpu().numpy(), "batch": batch, **arrays})

    def _read(self, path: Path) -> tuple[list[int], Outcome]:
        with undamaged(path, REMEDY):
            arrays = load_arrays(path, REMEDY, FORM)
            cases, sizes, lines, numbers = self.shape
            queries = arrays["id"].shape
            cells = (cases, sizes, *queries)
            shapes = [(*cells, lines, numbers), cells, cells, queries, queries, cells]
            if [arrays[name].shape for name in Outcome._fields] != shapes:
                raise ValueError("its arrays are not of this run's cases, lines and queries")
        return arrays["id"].tolist(), Outcome(*(torch.from_numpy(arrays[name]) for name in Outcome._fields))


def batch_path(folder: Path, ids: Tensor) -> Path:
    """Return the file of the batch with these ids ``(N,)``; names sort by the first of them."""
    return folder / f"{int(ids[0]):09d}-{len(ids)}.npz"


def require_batch(path: Path, arrays: Mapping[str, NDArray[Any]], batch: str) -> None:
    """Refuse a file of other images, labels or ids than those of a batch with this hash, or of another run.

    Raises:
        UserError: If it is one.
    """
    if str(arrays["batch"]) != batch:
        raise UserError(
            f"{path} is of other images, labels or ids than the batch of that name has now, or of another run; delete "
            "it, or its folder, and the same test attacks again what is missing"
        )
