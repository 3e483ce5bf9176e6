"""What became of each query, batch by batch, in the folder of the run: derived from the activation cache.

A file is written whenever its batch is scored, and read for what the run tells of single queries; it says nothing of
what is left to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.report.results.samples import FORM, REMEDY
from lit_knn.storage.atomic import remove_abandoned, write_arrays
from lit_knn.storage.reading import load_arrays, undamaged


class SampleResults(NamedTuple):
    """One batch of N queries in A cases (threat and attack) at E sizes of perturbation.

    Attributes:
        hits: ``(A, E, N, V, T)`` int16: in how many evaluations has defense variant v the true class among its top k?
        realized: ``(A, E, N)`` float32, Δ in pixels.
        realized_normalized: ``(A, E, N)`` float32, Δ in the classifier's normalized space.
        right: ``(N,)`` bool: is the classifier itself right about the clean image?
        stored: ``(N,)`` bool: has the database a row of the image itself?
        flat: ``(A, E, N)`` bool: was the gradient zero wherever the attack looked?
        passes: ``(A, E, N, 2)`` int64: how often did the image pass what was attacked, forward and backward?
    """

    hits: Tensor
    realized: Tensor
    realized_normalized: Tensor
    right: Tensor
    stored: Tensor
    flat: Tensor
    passes: Tensor

    @property
    def cells(self) -> list[Tensor]:
        """What each case and size has of its own."""
        return [self.hits, self.realized, self.realized_normalized]

    def worst_case(self) -> SampleResults:
        """Return what becomes of each query when the attacker takes, for each variant, what leaves fewest hits.

        What is within a ball is within each larger one: an answer that is wrong at one Δ, or for the clean image, is so
        at each larger Δ. Of several evaluations the attacker takes one image for all of them. Evaluation r draws the
        same numbers under every attack, so that the luck of many draws is not taken for the strength of many attacks.

        Returns:
            One case, A = 1: the fewest hits of any case at this Δ or a smaller one, and the largest realized Δ.
        """
        return self._replace(
            hits=self.hits.amin(dim=0, keepdim=True).cummin(dim=1).values,
            realized=self.realized.amax(dim=0, keepdim=True),
            realized_normalized=self.realized_normalized.amax(dim=0, keepdim=True),
        )


class SampleResultFiles:
    """A folder with one file per batch.

    Args:
        folder: Created when something is written.
        run: A hash of 16 digits of all that the results of the run depend on.
        shape: Their A, E, V and T.
    """

    def __init__(self, folder: Path, run: str, shape: tuple[int, int, int, int]) -> None:
        self.folder, self._run, self._shape = folder, run, shape

    def tidy(self) -> None:
        """Remove what killed writers have left."""
        remove_abandoned(self.folder)

    def write(self, ids: Tensor, results: SampleResults) -> None:
        """Keep what became of the batch with these ids ``(N,)``."""
        arrays = {name: value.cpu().numpy() for name, value in results._asdict().items()}
        write_arrays(self.folder / batch_name(ids.tolist()), {"id": ids.cpu().numpy(), "run": self._run, **arrays})

    def read(self, batches: Iterable[list[int]]) -> Iterator[tuple[list[int], SampleResults]]:
        """Yield ids and results of batches, given by their ids.

        Raises:
            UserError: If a file is missing, damaged or of another run.
        """
        for ids in batches:
            yield ids, self._read(self.folder / batch_name(ids), ids)

    def _read(self, path: Path, ids: list[int]) -> SampleResults:
        with undamaged(path, REMEDY):
            arrays = load_arrays(path, REMEDY, FORM)
            if str(arrays["run"]) != self._run or arrays["id"].tolist() != ids:
                raise ValueError("it is of other queries or another run")
            cases, sizes, lines, numbers = self._shape
            cells = (cases, sizes, len(ids))
            shapes = [(*cells, lines, numbers), cells, cells, cells[2:], cells[2:], cells, (*cells, 2)]
            if [arrays[name].shape for name in SampleResults._fields] != shapes:
                raise ValueError("its arrays are not of this run's cases, lines and queries")
        return SampleResults(*(torch.from_numpy(arrays[name]) for name in SampleResults._fields))


def batch_name(ids: list[int]) -> str:
    """Return the name of a batch's file; names sort by the first of its N ids."""
    return f"{ids[0]:09d}-{len(ids)}.npz"
