"""The first pass over the database's images: PCA of each tap, in any number of parts and processes.

Each part seals its moments; whichever finds those of all parts there adds them up, which is exact, so that it does not
matter which part that is, or whether several are at it at once.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from lit_knn.backbones import Classifier, Moments, Projection
from lit_knn.data import Batch, BatchLoader, ImageData
from lit_knn.database import Database
from lit_knn.database.building.base import DatabasePass
from lit_knn.database.building.kept import KeptMoments
from lit_knn.distributed.partition import Partition
from lit_knn.errors import DamageError, UserError
from lit_knn.storage.fingerprint import Fingerprint

log = logging.getLogger(__name__)

# Steps of float16 are never finer than 2⁻²⁴, so that 256 of them are wrong by 2⁻⁹ of the smaller spread at most; beyond
# the larger one, a quarter of the largest number, hardly a database has no outlier that is infinite.
SPREADS = (2.0**-12, 2.0**14)

CALIBRATION = 16  # images, at least, whose spread the grid of the sums suits: that of one is nothing


class Fitting(DatabasePass):
    """The moments of every tap over a part of the database.

    Args:
        classifier: Gives tapped activations.
        database: Says which, and on how many rows.
        data: Gives the images.
        part: Which shards.
        kept: What has been summed of them already, by whomever.

    Attributes:
        moments: Of each tap.
    """

    def __init__(
        self, classifier: Classifier, database: Database, data: ImageData, part: Partition, kept: KeptMoments
    ) -> None:
        super().__init__(classifier, database, data)
        self._part, self._kept = part, kept
        self.moments: dict[str, Moments] = {}
        self._done: list[int] = []  # batches, by all processes, before this run
        self._summed: list[int] = []  # batches in the moments of this process
        self._mine: Iterator[int] = iter(())  # batches that it is still to take
        self._whole = True  # whether all taps have the same batches

    def predict_dataloader(self) -> Iterable[Batch]:
        """Return this process's share of what is left; one process goes on from the sums that were kept."""
        if self.trainer.is_global_zero:
            self.moments, self._done = self._kept.load(self.device)
            self._summed = list(self._done)
            if self._done:
                log.info("%d batches have been summed before", len(self._done))
        grids = {name: (sums.origin.cpu(), sums.steps.cpu()) for name, sums in self.moments.items()}
        grids, self._done = self.trainer.strategy.broadcast((grids, self._done))
        if not self.trainer.is_global_zero:
            self.moments = {name: Moments.on_grid(*grid, self.device) for name, grid in grids.items()}
        return super().predict_dataloader()

    def batches(self) -> BatchLoader:
        """Return this process's share of the sample: every stride-th row of each shard, whole batches by rank."""
        self.examine_network()
        if not self.moments:
            self._calibrate()  # in no later hook: a process without a batch would not call it
        trainer, wanted = self.trainer, self.database.projection_rows
        stride = max(1, self.data.about_database_rows // wanted) if wanted else 1
        shards = self._part.of(self.shards)
        loader = self.data.database_batches(
            shards, stride=stride, rank=trainer.global_rank, world_size=trainer.world_size, done=self._done
        )
        self._mine = iter(loader.numbers)
        return loader

    def _calibrate(self) -> None:
        """Fix origin and grid on the first images of the database: the same everywhere, without a word between them."""
        rows: dict[str, list[Tensor]] = {name: [] for name in self.database.taps}
        count = 0
        for batch in self.first_batches():
            for name, pooled in self.activations(batch).items():
                rows[name].append(pooled)
            if (count := count + len(batch["id"])) >= CALIBRATION:
                break
        self.moments = {name: Moments(torch.cat(parts), self.device) for name, parts in rows.items()}

    def take(self, batch: Batch) -> None:
        """Add the activations of a batch."""
        self._whole = False
        if len(batch["id"]):
            for name, rows in self.activations(batch).items():
                self.moments[name].update(rows)
        self._summed.append(next(self._mine))
        self._whole = True
        if self._kept.is_due:
            self.keep()

    def keep(self) -> None:
        """Seal what has been summed, for whoever goes on."""
        if self._whole and self._summed:
            self._kept.seal(self.moments, self._summed)

    def merge(self) -> None:
        """Sum the moments of all processes; every process must take part."""
        if torch.distributed.is_initialized():
            for moments in self.moments.values():
                for sums in (moments.rows, moments.total, moments.outer):
                    torch.distributed.all_reduce(sums)


class MomentFiles:
    """The sealed moments of all parts of one fit, in a folder of the database.

    Args:
        database: Whose projections are fitted.
        classifier: Gave the activations.
        data: Gave the images.
    """

    def __init__(self, database: Database, classifier: Classifier, data: ImageData) -> None:
        self._database = database
        self._origins = database.origins(classifier, data)
        self._batch_size = data.batch_size

    def missing(self, part: Partition) -> list[Partition]:
        """Return the parts, of as many as there are of this one, that have not sealed all their moments."""
        parts = [Partition(number, part.count) for number in range(1, part.count + 1)]
        return [other for other in parts if not all(self.path(tap, other).exists() for tap in self._origins)]

    def path(self, tap: str, part: Partition) -> Path:
        """Return the file of a tap's moments over one part."""
        return moments_folder(self._database) / f"{tap}-{part.number:06d}-of-{part.count:06d}.h5"

    def kept(self, part: Partition) -> KeptMoments:
        """Return what there is of a part that has not been read to its end."""
        return KeptMoments(moments_folder(self._database), part, self._sampled(part))

    def seal(self, moments: Mapping[str, Moments], part: Partition) -> None:
        """Keep the moments of a part, or fit at once where there are no others."""
        sampled = self._sampled(part)
        for tap, sums in moments.items():
            if part.is_whole:
                self.decompose(tap, sums)
            else:
                sums.save(self.path(tap, part), sampled[tap])
        self.kept(part).clear()

    def fit(self, count: int) -> None:
        """Add up the moments of ``count`` parts and seal the projection of each tap.

        Raises:
            UserError: If a file is damaged or was made from something else.
        """
        for tap in self._origins:
            total = self._load(tap, Partition(1, count))
            for number in range(2, count + 1):
                total.add_(self._load(tap, Partition(number, count)))
            self.decompose(tap, total)

    def decompose(self, tap: str, moments: Moments) -> None:
        """Seal the projection of a tap, given its moments over the whole database.

        Raises:
            UserError: If the store's float16 could not tell features apart, or hold them.
        """
        projection = Projection.fit(moments, self._database.taps[tap].dimension, bits=self._database.taps[tap].bits)
        spread = float(projection.variances.sum().sqrt())
        if spread and not projection.bits and not SPREADS[0] <= spread <= SPREADS[1]:
            raise UserError(
                f"features of tap {tap!r} have a standard deviation of {spread:.2g}; float16 keeps {SPREADS[0]:.2g} to "
                f"{SPREADS[1]:.2g}: tap a layer that is normalized, or keep bits"
            )
        projection.save(self._database.projection_path(tap), self._origins[tap])

    def _sampled(self, part: Partition) -> dict[str, Fingerprint]:
        """Return what the moments of a part depend on, by tap."""
        sample = {"batch size": str(self._batch_size), "part": str(part)}
        return {tap: origin | sample for tap, origin in self._origins.items()}

    def _load(self, tap: str, part: Partition) -> Moments:
        path = self.path(tap, part)
        try:
            return Moments.load(path, self._sampled(part)[tap])
        except DamageError as error:
            path.unlink(missing_ok=True)  # or the part would pass for done
            raise UserError(f"{error} for part {part}, whose moments have been removed") from error


def moments_folder(database: Database) -> Path:
    """Return where moments lie from the first part of a fit to the end of the extraction."""
    return database.path / "moments"


def remove_moments(database: Database) -> None:
    """Remove them, when all rows have been projected and nobody asks for them any more."""
    with suppress(FileNotFoundError):  # there are none, or another part is at it
        shutil.rmtree(moments_folder(database))
