"""One batch at one Δ in one sealed HDF5 file: what the defended classifier makes of its images, and perhaps the images.

    logits                (N, C)   realized             (N,) size in pixels
    <layer>, pool <side>  (N, D)   realized_normalized  (N,) Δ in the classifier's normalized space
    id                    (N,)     perturbation         (N, 3, H, W) float16, only where images are kept
    scores <hash>         (N, V, C), of each defense that looks at the image
    flat                  (N,) bool: the gradient was zero wherever the attack looked
    passes                (N, 2) int64: of what was attacked, forward and backward

Numbers are float32, or float64 where the network's are. Each column is contiguous, and its attribute
``sealed`` is a hash of it; the attribute ``complete`` is written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference, from_text, to_text
from lit_knn.storage.reading import undamaged

PERTURBATION = "perturbation"
SCORES = "scores "  # begins the name of a column of a defense
TOLD = ("flat", "passes")
"""Columns that the attack tells, no network."""
EACH = {"id", "realized", "realized_normalized", "flat"}  # one value of each image
KINDS = {"id": "i", "flat": "b", "passes": "i"}  # all others are "f"
Columns = dict[str, Tensor]
"""Values of N images by their name, each ``(N, ...)``."""


class BatchKey(NamedTuple):
    """What tells a batch of N queries from others.

    Attributes:
        ids: ``(N,)`` int64.
        digest: A hash of 16 digits of images, labels and ids: some sources know files by their names only.
    """

    ids: Tensor
    digest: str

    @classmethod
    def of(cls, image: Tensor, label: Tensor, ids: Tensor) -> BatchKey:
        """Return that of images ``(N, 3, H, W)`` with labels and ids ``(N,)``."""
        digest = hashlib.sha256()
        for value in (image, label, ids):
            digest.update(value.cpu().numpy().tobytes())
        return cls(ids, digest.hexdigest()[:16])

    @property
    def name(self) -> str:
        """A name for files, which sort by the first of the ids."""
        return f"{int(self.ids[0]):09d}-{self.digest}"


class BatchFile:
    """One batch at one Δ. It never changes, but another process may put a file with more columns in its place.

    Args:
        path: Of the file, which need not exist; None keeps nothing.
        fingerprint: What its columns depend on.
        ids: ``(N,)`` int64.
        shape: That of its images ``(N, 3, H, W)``; None where their perturbation is not asked for.

    """

    def __init__(
        self, path: Path | None, fingerprint: Fingerprint, ids: Tensor, shape: Sequence[int] | None = None
    ) -> None:
        self._path, self._fingerprint, self._id = path, fingerprint, ids
        self._shape = None if shape is None else tuple(shape)

    @cached_property
    def names(self) -> frozenset[str]:
        """Of the columns that were there when first asked for, none if there was no file.

        Raises:
            UserError: If it is damaged, or of something else.
        """
        if self._path is None or not self._path.exists():
            return frozenset()
        with self._opened(self._path) as file:
            return frozenset(file)

    def read(self, names: AbstractSet[str] | None = None) -> Columns:
        """Return columns, all by default, on the device of the ids.

        Raises:
            UserError: If the file is missing, damaged, or of something else.
        """
        if self._path is None:
            raise RuntimeError("nothing is kept")
        with self._opened(self._path) as file:
            columns = {name: torch.from_numpy(file[name][()]) for name in sorted(names or file)}
            for name, value in columns.items():
                if describe(value) != file[name].attrs["sealed"]:
                    raise ValueError(f"{name} is not what was sealed")
            return {name: value.to(self._id.device) for name, value in columns.items()}

    def write(self, columns: Columns) -> None:
        """Seal columns, and with them those that are there already, if they are of the same images to the last bit."""
        if self._path is None:
            return
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
    def _opened(self, path: Path) -> Iterator[h5py.File]:
        place, remedy = f"{path} of the activation cache", "delete it, and its batch is attacked again"
        if not path.exists():
            raise UserError(f"{place} has gone; run the same test again, which attacks its batch again")
        with (
            undamaged(path, f"{remedy} (it is of the activation cache)"),
            h5py.File(path, "r", locking=False) as file,
        ):
            if not file.attrs.get("complete", False):
                raise ValueError("never finished")
            found = from_text(file.attrs["fingerprint"])
            if difference := fingerprint_difference(self._fingerprint, found):
                raise UserError(f"{place} is of another case: {difference}; {remedy}")
            for name, column in file.items():
                if column.shape != self._expected(name, column.shape):
                    raise ValueError(f"{name} has shape {column.shape}")
                if column.dtype.kind != KINDS.get(name, "f"):
                    raise ValueError(f"{name} is {column.dtype}")
            if not np.array_equal(file["id"][()], self._id.cpu().numpy()):
                raise UserError(f"{place} is of other queries; {remedy}")
            yield file

    def _expected(self, name: str, found: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that a column must have; of some dimensions, only how many there are is known."""
        if name == PERTURBATION:
            return self._shape or (len(self._id), *found[1:4])
        known = 0 if name in EACH else 2 if name.startswith(SCORES) else 1
        return (len(self._id), *found[1 : 1 + known])


def halve(change: Tensor) -> Tensor:
    """Return float16 of a float tensor within ±1, rounded towards zero: no pixel is moved further."""
    half = change.contiguous().half()
    beyond = half.to(change.dtype).abs() > change.abs()
    return (half.view(torch.int16) - beyond.to(torch.int16)).view(torch.float16)  # bits of sign and magnitude


def move(image: Tensor, change: Tensor) -> Tensor:
    """Return ``image (N, 3, H, W)`` moved by a float16 perturbation, in the image's dtype and in [0, 1]."""
    return (image + change.to(image.dtype)).clamp_(0, 1)
