"""Moments of a fit that has not come to its end: a process that is killed loses seconds of it, not all."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import torch

from lit_knn.backbones import Moments
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError, WriteError
from lit_knn.storage.atomic import atomic_write, remove_abandoned
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.reading import undamaged

log = logging.getLogger(__name__)

SECONDS = 30.0  # a process that is killed loses about so much work,
SHARE = 50  # or more where sealing takes long: the work between takes so many times as long


class KeptMoments:
    """Sums of a part of a fit, with the numbers of the batches that are in them.

    Each process has one file, about ``4·D²`` bytes for each tap, and replaces it now and then. Whoever goes on, with
    any number of processes, adds up files that have no batch in common.

    Args:
        folder: Of the files.
        part: Of the fit.
        origins: What the rows of each tap depend on.
    """

    def __init__(self, folder: Path, part: Partition, origins: Mapping[str, Fingerprint]) -> None:
        self._folder, self._origins = folder, origins
        self._stem = f"{part.number:06d}-of-{part.count:06d}-kept-"
        self._path = folder / f"{self._stem}{uuid.uuid4().hex}.h5"
        self._taken: list[Path] = []  # whose sums are in this process's own
        self._next = time.monotonic() + SECONDS

    def load(self, device: torch.device) -> tuple[dict[str, Moments], list[int]]:
        """Return the sums that others have left, by tap, and the batches in them; none of either if there are none.

        What is damaged or of other settings is passed over: it saves time, and decides nothing.
        """
        remove_abandoned(self._folder)
        moments: dict[str, Moments] = {}
        done: set[int] = set()
        for path in sorted(self._files(), key=self._count, reverse=True):
            try:
                batches, more = self._read(path, device)
            except UserError as error:
                log.warning("%s; these moments are summed again", error)
                continue
            if done & batches or not all(moments.get(tap, sums).on_grid_of(sums) for tap, sums in more.items()):
                continue
            moments = {tap: moments[tap].add_(sums) for tap, sums in more.items()} if moments else more
            done |= batches
            self._taken.append(path)
        return moments, sorted(done)

    def seal(self, moments: Mapping[str, Moments], batches: Collection[int]) -> None:
        """Keep sums; a disk without space for them is told and nothing else."""
        started = time.monotonic()
        try:
            with atomic_write(self._path) as unfinished, h5py.File(unfinished, "w") as file:
                file["batches"] = numbers = np.array(sorted(batches), np.int64)
                file.attrs["sealed"] = describe(numbers)
                for tap, sums in moments.items():
                    sums.write(file.create_group(f"taps/{tap}"), self._origins[tap])
        except WriteError as error:
            log.warning("%s; what has been summed is not kept", error)
        else:
            self._remove(self._taken)
            self._taken = []
        now = time.monotonic()
        self._next = now + max(SECONDS, SHARE * (now - started))

    @property
    def is_due(self) -> bool:
        """Whether as much has been summed since the last time as may be lost."""
        return time.monotonic() >= self._next

    def clear(self) -> None:
        """Remove all files of this part, once it has been sealed."""
        self._remove(self._files())
        with suppress(OSError):  # there is none, or others have something in it
            self._folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{self._stem}*.h5"))

    @staticmethod
    def _remove(paths: Collection[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)

    def _count(self, path: Path) -> int:
        try:
            with self._opened(path) as file:
                return len(file["batches"])
        except UserError:
            return 0

    def _read(self, path: Path, device: torch.device) -> tuple[set[int], dict[str, Moments]]:
        with self._opened(path) as file:
            moments = {tap: Moments.read(file[f"taps/{tap}"], origin, device) for tap, origin in self._origins.items()}
            batches = file["batches"][:]
            if describe(batches) != file.attrs["sealed"]:
                raise ValueError("batches are not what was sealed")
            return set(batches.tolist()), moments

    @staticmethod
    @contextmanager
    def _opened(path: Path) -> Iterator[h5py.File]:
        with undamaged(f"file of moments {path}", "delete it"), h5py.File(path, "r", locking=False) as file:
            yield file
