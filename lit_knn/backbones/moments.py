"""Sums of a stream of features that add up exactly, in any order and among any number of processes.

Rows are rounded to integers on a fine grid before they are multiplied, so that every sum is an integer below 2⁵³ and
float64 holds it without rounding. The order of the batches, and the number of processes among which they were shared,
therefore cannot change a single bit of the result.

Most products are taken in float32, at twice the speed of float64 and just as exactly. Below 2²⁴ float32, too, has all
integers; and by Cauchy–Schwarz, where no column's sum of squares over some rows reaches 2²⁴, neither does the sum of
products of any two columns, nor any part of that sum, in whatever order it is taken. Rows for which that does not hold
are multiplied in float64. On a grid of 2⁶ to 2⁷ steps a standard deviation, rounding adds 2⁻¹²/12 of a column's variance
at most; the components explain the same share of held-out variance as unrounded ones to 10⁻⁵.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import torch
from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.fingerprint import Fingerprint, fingerprint_difference
from lit_knn.sealing import sealed

GRID_BITS = 7  # a column's standard deviation becomes 2⁶ to 2⁷ steps, so that float32 holds 512 rows or more at once
EXACT_FLOAT32, EXACT = 2.0**24, 2.0**53  # below these, float32 and float64 have all integers
PENDING = 1024  # rows that wait until the sums are read and written once for all of them
FEWEST = (
    256  # rows that are rather multiplied in float64 than fewer at once; twice the calibration's spread is no matter
)
BLOCK, WIDTH = 256, 4096  # rows and columns of the sums that are computed at once: float32 products stay in the cache
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
        # A column that happens to be constant in these few rows gets a grid that suits its neighbours.
        spread = variances.maximum(variances.mean() / 2.0**12).sqrt().clamp(min=2.0**-64)
        self.origin = calibration.mean(dim=0).float()
        self.steps = torch.exp2(GRID_BITS - torch.ceil(torch.log2(spread))).float()
        self.rows = torch.zeros((), dtype=torch.int64, device=device)
        self.total = torch.zeros(size, dtype=torch.float64, device=device)
        shapes = [(min(BLOCK, size - start), size - start) for start in range(0, size, BLOCK)]
        self._outer = torch.zeros(sum(map(math.prod, shapes)), dtype=torch.float64, device=device)
        parts = self._outer.split([math.prod(shape) for shape in shapes])
        blocks = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        self._blocks = list(zip(range(0, size, BLOCK), blocks, strict=True))
        self._pending: list[Tensor] = []

    @property
    def outer(self) -> Tensor:
        """Sum of the rows' outer products in grid steps: its upper triangle, flat, float64.

        Blocks of 256 rows follow each other, each from its own first column to the last: ``(256, D)``,
        ``(256, D − 256)``, …; the entries of a block that lie below the diagonal are there, too.
        """
        self._multiply()
        return self._outer

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

    def add_(self, other: Moments) -> Moments:
        """Add the rows that another process has seen.

        Raises:
            UserError: If the two were calibrated on different rows.
        """
        if not (torch.equal(self.origin, other.origin) and torch.equal(self.steps, other.steps)):
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
        size = len(self.total)
        outer = self.total.new_empty(size, size)
        for start, block in self._blocks:
            outer[start : start + BLOCK, start:] = block
            outer[start:, start : start + BLOCK] = block.T
        centre = self.total / count**0.5
        outer.addr_(centre, centre, alpha=-1)
        return outer.div_(count - 1).div_(self.steps).div_(self.steps[:, None])

    def covariance_times(self, basis: Tensor) -> Tensor:
        """Multiply the covariance by ``(D, k)`` float64 without ever holding it.

        Raises:
            UserError: As `covariance` does.
        """
        count = self._count()
        scaled = basis / self.steps[:, None]
        result = torch.zeros_like(scaled)
        for start, block in self._blocks:
            stop = start + len(block)
            result[start:stop].addmm_(block, scaled[start:])
            result[stop:].addmm_(block[:, len(block) :].T, scaled[start:stop])
        result.addr_(self.total, self.total @ scaled, alpha=-1 / count)
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
        outer = self.outer
        with sealed(path) as unfinished, h5py.File(unfinished, "w") as file:
            for name in ("origin", "steps", "total"):
                file.create_dataset(name, data=getattr(self, name).cpu().numpy())
            written = file.create_dataset("outer", outer.shape, "f8")
            for start in range(0, len(outer), PART):
                written[start : start + PART] = outer[start : start + PART].cpu().numpy()
            file.attrs["rows"] = int(self.rows)
            file.attrs["fingerprint"] = json.dumps(origin)

    @classmethod
    def load(cls, path: Path, origin: Fingerprint, device: torch.device | str = "cpu") -> Moments:
        """Read what `save` wrote; more rows may be added to it.

        Args:
            path: Of the file.
            origin: What the rows must depend on.
            device: Where the sums shall lie.

        Raises:
            UserError: If the file is missing, damaged, or of another origin.
        """
        if not path.is_file():
            raise UserError(f"moments {path} do not exist; run `lit-knn extract` with this configuration")
        try:
            with h5py.File(path, "r", locking=False) as file:
                moments = cls(torch.from_numpy(file["origin"][:])[None], device)
                for name in ("steps", "total"):
                    getattr(moments, name).copy_(torch.from_numpy(file[name][:]))
                for start in range(0, len(moments.outer), PART):
                    moments.outer[start : start + PART] = torch.from_numpy(file["outer"][start : start + PART])
                moments.rows.fill_(int(file.attrs["rows"]))
                found = json.loads(file.attrs["fingerprint"])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"moments {path} are damaged ({error}); delete them and run `lit-knn extract`") from error
        if difference := fingerprint_difference(origin, found):
            raise UserError(f"moments {path} are of another origin: {difference}; set another model.database.path")
        return moments

    def _count(self) -> int:
        """Return the number of rows if there can be a covariance."""
        count = int(self.rows)
        if count < 2:
            raise UserError(f"PCA needs at least 2 images in the database, there are {count}")
        self._multiply()
        if max(block.diagonal().max() for _, block in self._blocks) >= EXACT:  # it bounds every sum, by Cauchy–Schwarz
            raise UserError(f"PCA over {count} rows leaves exact arithmetic: set database.projection_rows to fewer")
        return count

    def _multiply(self) -> None:
        """Add the outer products of the rows that wait."""
        if not self._pending:
            return
        waiting = torch.cat(self._pending)
        self._pending = []
        with _full_precision(waiting.device):
            self._add_products(waiting)

    def _add_products(self, steps: Tensor) -> None:
        """Add the outer products of ``(n, D)`` integers: in float32, of fewer rows at once where it must be."""
        exact = bool(steps.square().sum(dim=0, dtype=torch.float64).max() < EXACT_FLOAT32)
        if not exact and len(steps) > FEWEST:
            for half in steps.chunk(2):
                self._add_products(half)
            return
        steps = steps if exact else steps.double()
        for start, block in self._blocks:
            left, rest = steps[:, start : start + BLOCK].T, steps[:, start:]
            for sums, right in zip(block.split(WIDTH, dim=1), rest.split(WIDTH, dim=1), strict=True):
                sums += left @ right


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Multiply float32 as float32, whatever autocast or the precision of matrix products says."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def _require_finite(features: Tensor) -> None:
    if not torch.isfinite(features).all():
        raise UserError("the network gives features that are NaN or infinite for images of the database")
