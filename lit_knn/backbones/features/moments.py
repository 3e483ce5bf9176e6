"""Sums of a stream of features that add up exactly, in any order and among any number of processes.

Rows are rounded to integers on a fine grid before they are multiplied, so that every sum is an integer below 2⁵³ and
float64 holds it without rounding. The order of the batches, and the number of processes among which they were shared,
therefore cannot change a single bit of the result. A standard deviation has 2⁶ to 2⁷ steps: rounding adds 2⁻¹²/12 of a
column's variance at most, and the components explain the same share of held-out variance as unrounded ones to 2·10⁻⁵.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import torch
from torch import Tensor

from lit_knn.backbones.features.symmetric_sum import Triangle
from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint, digest, fingerprint_difference, from_text, to_text
from lit_knn.storage.reading import undamaged

GRID_BITS = 7  # a column's standard deviation becomes 2⁶ to 2⁷ steps, so that float32 holds 512 rows or more at once
PENDING = 1024  # rows that wait until the sums are read and written once for all of them
PART = 2**24  # entries written to a file at once


class Moments:
    """First and second moments of a stream of features.

    Args:
        calibration: ``(n, D)`` float rows, the same for all processes; they fix origin and grid and are not counted.
        device: Where the sums lie; about ``4·D²`` bytes.

    Attributes:
        origin: ``(D,)`` float32, mean of the calibration rows, which becomes zero.
        steps: ``(D,)`` float32, grid steps per unit of each column; powers of two, which scale exactly.
        rows: ``()`` int64, number of rows.
        total: ``(D,)`` float64, sum of the rows in grid steps.
    """

    def __init__(self, calibration: Tensor, device: torch.device | str = "cpu") -> None:
        _require_finite(calibration)
        calibration = calibration.double().to(device)
        size = calibration.shape[1]
        variances = calibration.var(dim=0, correction=0)
        # A column that happens to be constant in these few rows gets a grid that suits its neighbors.
        spread = variances.maximum(variances.mean() / 2.0**12).sqrt().clamp(min=2.0**-64)
        self.origin = calibration.mean(dim=0).float()
        self.steps = torch.exp2(GRID_BITS - torch.ceil(torch.log2(spread))).float()
        self.rows = torch.zeros((), dtype=torch.int64, device=device)
        self.total = torch.zeros(size, dtype=torch.float64, device=device)
        self._outer = Triangle(size, device)
        self._pending: list[Tensor] = []

    @property
    def outer(self) -> Tensor:
        """Sum of the rows' outer products in grid steps: the `values` of a `Triangle`."""
        self._multiply()
        return self._outer.values

    def update(self, features: Tensor) -> None:
        """Add rows ``(n, D)``.

        Raises:
            UserError: If a feature is NaN or infinite.
        """
        _require_finite(features)
        steps = (features.float() - self.origin).mul_(self.steps).round_()
        self.rows += len(steps)
        self.total += steps.sum(dim=0, dtype=torch.float64)
        self._pending.append(steps)
        if sum(map(len, self._pending)) >= PENDING:
            self._multiply()

    @classmethod
    def on_grid(cls, origin: Tensor, steps: Tensor, device: torch.device | str = "cpu") -> Moments:
        """Return moments of no rows, with the `origin` and `steps` of others, ``(D,)`` float32."""
        moments = cls(origin[None], device)
        moments.steps.copy_(steps)
        return moments

    def on_grid_of(self, other: Moments) -> bool:
        """Tell whether two were calibrated on the same rows, so that they may be added."""
        return torch.equal(self.origin, other.origin) and torch.equal(self.steps, other.steps)

    def add_(self, other: Moments) -> Moments:
        """Add the rows that another process has seen.

        Raises:
            UserError: If the two were calibrated on different rows.
        """
        if not self.on_grid_of(other):
            raise UserError(
                "moments that were calibrated on different rows cannot be added: all tasks must read the same first "
                "images of the database with the same classifier"
            )
        self.rows += other.rows
        self.total += other.total
        self.outer.add_(other.outer)
        return self

    def covariance(self) -> Tensor:
        """Return the ``(D, D)`` covariance, float64, in squared units of the features.

        Raises:
            UserError: For fewer than two rows, or so many that a sum is no longer exact.
        """
        count = self._count()
        center = self.total / count**0.5
        centered = self._outer.matrix().addr_(center, center, alpha=-1)
        return centered.div_(count - 1).div_(self.steps).div_(self.steps[:, None])

    def covariance_times(self, basis: Tensor) -> Tensor:
        """Multiply the covariance by ``(D, k)`` float64 without ever holding it.

        Raises:
            UserError: As `covariance` does.
        """
        count = self._count()
        scaled = basis / self.steps[:, None]
        result = self._outer.times(scaled).addr_(self.total, self.total @ scaled, alpha=-1 / count)
        return result.div_(count - 1).div_(self.steps[:, None])

    def mean(self) -> Tensor:
        """Return ``(D,)`` float64, in units of the features."""
        return self.origin.double() + self.total / self._count() / self.steps

    def save(self, path: Path, origin: Fingerprint) -> None:
        """Write a sealed HDF5 file of about ``4·D²`` bytes; another process sees all of it or nothing.

        Args:
            path: Replaced if it exists.
            origin: What the rows depend on: classifier, tap, data set, preprocessing, and which of them were read.
        """
        with atomic_write(path) as unfinished, h5py.File(unfinished, "w") as file:
            self.write(file, origin)

    def write(self, group: h5py.Group, origin: Fingerprint) -> None:
        """Write into an HDF5 file that is open; see `save`."""
        outer = self.outer
        for name in ("origin", "steps", "total"):
            group.create_dataset(name, data=getattr(self, name).cpu().numpy())
        written = group.create_dataset("outer", outer.shape, "f8")
        for start in range(0, len(outer), PART):
            written[start : start + PART] = outer[start : start + PART].cpu().numpy()
        group.attrs["rows"] = int(self.rows)
        group.attrs["fingerprint"] = to_text(origin)
        group.attrs["sealed"] = self._hash()

    @classmethod
    def load(cls, path: Path, origin: Fingerprint, device: torch.device | str = "cpu") -> Moments:
        """Read what `save` wrote; more rows may be added to it.

        Args:
            path: Of the file.
            origin: What the rows must depend on.
            device: Where the sums shall lie.

        Raises:
            DamageError: If the file is missing or damaged.
            UserError: If it is of another origin.
        """
        with (
            undamaged(f"file of moments {path}", "run `lit-knn fit` again"),
            h5py.File(path, "r", locking=False) as file,
        ):
            return cls.read(file, origin, device)

    @classmethod
    def read(cls, group: h5py.Group, origin: Fingerprint, device: torch.device | str = "cpu") -> Moments:
        """Read what `write` wrote.

        Raises:
            ValueError: If its shapes do not fit each other.
            UserError: If it is of another origin.
        """
        if difference := fingerprint_difference(origin, from_text(group.attrs["fingerprint"])):
            raise UserError(
                f"moments {group.file.filename} are of another origin: {difference}; set another model.database.path"
            )
        first, steps, total = (torch.from_numpy(group[name][:]) for name in ("origin", "steps", "total"))
        moments = cls.on_grid(first, steps, device)
        if (total.shape, group["outer"].shape) != (moments.total.shape, moments.outer.shape):
            raise ValueError(f"sums of shapes {tuple(total.shape)} and {group['outer'].shape}")
        moments.total.copy_(total)
        for start in range(0, len(moments.outer), PART):
            moments.outer[start : start + PART] = torch.from_numpy(group["outer"][start : start + PART])
        moments.rows.fill_(int(group.attrs["rows"]))
        if moments._hash() != group.attrs["sealed"]:
            raise ValueError("sums are not what was sealed")
        return moments

    def _hash(self) -> str:
        parts = [self.origin, self.steps, self.total, int(self.rows), *self.outer.split(PART)]
        return digest(describe(parts))

    def _count(self) -> int:
        """Return the number of rows if there can be a covariance."""
        count = int(self.rows)
        if count < 2:
            raise UserError(f"PCA needs at least 2 images in the database, there are {count}")
        self._multiply()
        if not self._outer.is_exact():
            raise UserError(
                f"PCA over {count} rows leaves exact arithmetic: set model.database.projection_rows to fewer, or see "
                "to it that the first images of the database differ as the others do"
            )
        return count

    def _multiply(self) -> None:
        if self._pending:
            self._outer.add(torch.cat(self._pending))
            self._pending = []


def _require_finite(features: Tensor) -> None:
    if not torch.isfinite(features).all():
        raise UserError("the network gives features that are NaN or infinite for images of the database")
