"""What became of each query, kept batch by batch, so that an interrupted test goes on where it stopped.

A batch's composition does not depend on the number of processes, so another number of them can go on with a run.
They belong to one run, database, K and weighting included; :mod:`lit_knn.cache` is upstream of them and for all runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.fingerprint import Fingerprint, fingerprint_difference
from lit_knn.sealing import seal_arrays, sealed


class Outcome(NamedTuple):
    """One batch of N queries in A cases (threat and attack) at E sizes of perturbation.

    Attributes:
        hits: ``(A, E, N, V, T)`` bool: does defense variant v have the true class among its top k?
        realised: ``(A, E, N)`` float32, Δ in pixels.
        realised_normalized: ``(A, E, N)`` float32, Δ in the classifier's normalised space.
    """

    hits: Tensor
    realised: Tensor
    realised_normalized: Tensor

    def worst_case(self) -> Outcome:
        """Return what becomes of each query when the attacker takes, for each variant, the case that breaks it.

        Returns:
            One case, A = 1: a hit where no case breaks it, and the largest realised Δ.
        """
        return Outcome(
            self.hits.all(dim=0, keepdim=True),
            self.realised.amax(dim=0, keepdim=True),
            self.realised_normalized.amax(dim=0, keepdim=True),
        )


class Outcomes:
    """A folder with one sealed file per batch.

    Args:
        folder: Created if it does not exist.
        fingerprint: What the outcomes depend on; a folder of other outcomes is refused.

    Raises:
        UserError: If the folder holds the outcomes of something else.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        self.folder = folder
        origin = folder / "origin.json"
        if origin.exists():
            if difference := fingerprint_difference(fingerprint, json.loads(origin.read_text())):
                raise UserError(f"{folder} holds the outcomes of another run: {difference}; choose another trainer.run")
        else:
            with sealed(origin) as unfinished:
                unfinished.write_text(json.dumps(fingerprint, indent=1, sort_keys=True) + "\n")

    def load(self, id: Tensor) -> Outcome | None:
        """Return the outcome of the batch with these ids ``(N,)``, on their device, or None."""
        path = self._path(id)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            if not np.array_equal(file["id"], id.cpu().numpy()):
                raise UserError(f"{path} holds other queries than the batch that starts with the same one; delete it")
            return Outcome(*(value.to(id.device) for value in _outcome(file)))

    def __iter__(self) -> Iterator[tuple[list[int], Outcome]]:
        """Yield the ids and the outcome of each finished batch, by the first id."""
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path, allow_pickle=False) as file:
                yield file["id"].tolist(), _outcome(file)

    def save(self, id: Tensor, outcome: Outcome) -> None:
        """Keep the outcome of a batch."""
        arrays = {name: value.cpu().numpy() for name, value in outcome._asdict().items()}
        seal_arrays(self._path(id), {"id": id.cpu().numpy(), **arrays})

    def _path(self, id: Tensor) -> Path:
        return batch_path(self.folder, id)


def batch_path(folder: Path, id: Tensor) -> Path:
    """Return the file of the batch with these ids ``(N,)``; names sort by the first of them."""
    return folder / f"{int(id[0]):09d}-{len(id)}.npz"


def _outcome(file: Mapping[str, NDArray[Any]]) -> Outcome:
    return Outcome(*(torch.from_numpy(file[name]) for name in Outcome._fields))
