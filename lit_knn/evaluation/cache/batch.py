"""One attacked batch in one sealed HDF5 file: what the defended classifier makes of it, and perhaps the images.

    logits                (N, C)   realized             (N,) Δ in pixels
    <layer>, pool <side>  (N, D)   realized_normalized  (N,) Δ in the classifier's normalized space
    id                    (N,)     perturbation         (N, 3, H, W) float16, only where images are kept
    flat                  (N,) bool: the gradient was zero wherever the attack looked

Numbers are float32, or float64 where the network's are. Each column is contiguous, and its attribute
``sealed`` is a hash of it; the attribute ``complete`` is written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write, undamaged
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference, from_text, to_text

PERTURBATION = "perturbation"
KINDS = {"id": "i", "flat": "b"}  # all others are "f"
Columns = dict[str, Tensor]


class BatchFile:
    """One batch at one Δ. It never changes, but another process may put a file with more taps in its place.

    Args:
        path: Of the file, which need not exist.
        fingerprint: What its columns depend on.
        image: ``(N, 3, H, W)``, clean.
        ids: ``(N,)`` int64.

    Attributes:
        names: Of the columns that are there, none if there is no file.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint, image: Tensor, ids: Tensor) -> None:
        self._path, self._fingerprint, self._id = path, fingerprint, ids
        self._shapes = {
            "id": ids.shape,
            "realized": ids.shape,
            "realized_normalized": ids.shape,
            "flat": ids.shape,
            PERTURBATION: image.shape,
        }
        self.names: frozenset[str] = frozenset()
        if path.exists():
            with self._opened() as file:
                self.names = frozenset(file)

    def read(self, names: AbstractSet[str] | None = None) -> Columns:
        """Return columns, all by default, on the device of the ids."""
        with self._opened() as file:
            columns = {name: torch.from_numpy(file[name][()]) for name in names or file}
            for name, value in columns.items():
                if describe(value) != file[name].attrs["sealed"]:
                    raise ValueError(f"{name} is not what was sealed")
            return {name: value.to(self._id.device) for name, value in columns.items()}

    def write(self, columns: Columns) -> None:
        """Seal columns, and with them those that are there already, if they are of the same images to the last bit."""
        there = self.read() if self._path.exists() else {}
        if there and torch.equal(there["logits"], columns["logits"]):
            columns = there | columns
        with atomic_write(self._path) as unfinished, h5py.File(unfinished, "x", locking=False) as file:
            for name, value in sorted((columns | {"id": self._id}).items()):
                file[name] = value.cpu().numpy()
                file[name].attrs["sealed"] = describe(value)
            file.attrs["fingerprint"] = to_text(self._fingerprint)
            file.flush()
            file.attrs["complete"] = True

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        place, remedy = f"{self._path} of the adversarial cache", "delete it, and its batch is attacked again"
        with (
            undamaged(self._path, f"{remedy} (it is of the adversarial cache)"),
            h5py.File(self._path, "r", locking=False) as file,
        ):
            if not file.attrs.get("complete", False):
                raise ValueError("never finished")
            found = from_text(file.attrs["fingerprint"])
            if difference := fingerprint_difference(self._fingerprint, found):
                raise UserError(f"{place} is of another case: {difference}; {remedy}")
            for name, column in file.items():
                if column.shape != self._shapes.get(name, (len(self._id), *column.shape[1:2])):
                    raise ValueError(f"{name} has shape {column.shape}")
                if column.dtype.kind != KINDS.get(name, "f"):
                    raise ValueError(f"{name} is {column.dtype}")
            if not np.array_equal(file["id"][()], self._id.cpu().numpy()):
                raise UserError(f"{place} is of other queries; {remedy}")
            yield file


def batch_digest(image: Tensor, label: Tensor, ids: Tensor) -> str:
    """Return a hash of a batch, of 16 digits: of its pixels, as some sources know files' names only, labels and ids."""
    digest = hashlib.sha256()
    for value in (image, label, ids):
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def batch_name(digest: str, ids: Tensor) -> str:
    """Return the file name of a batch with this hash and these ids ``(N,)``."""
    return f"{int(ids[0]):09d}-{digest}.h5"


def halve(change: Tensor) -> Tensor:
    """Return float16 of a float tensor within ±1, rounded towards zero: no pixel is moved further."""
    half = change.contiguous().half()
    beyond = half.to(change.dtype).abs() > change.abs()
    return (half.view(torch.int16) - beyond.to(torch.int16)).view(torch.float16)  # bits of sign and magnitude


def move(image: Tensor, change: Tensor) -> Tensor:
    """Return ``image (N, 3, H, W)`` moved by a float16 perturbation, in the image's dtype and in [0, 1]."""
    return (image + change.to(image.dtype)).clamp_(0, 1)
