"""What one process has found in some units of a database, in a file that is written and read some queries at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch

from lit_knn.database.index import Neighbors, nearest
from lit_knn.storage.atomic import atomic_write
from lit_knn.storage.reading import undamaged

REMEDY = "delete it, and the same test searches its part of the database again"
CHUNK = 1024  # queries whose neighbors have one checksum


class FoundNeighbors:
    """The nearest rows of N queries among some units, for each of R disjoint selections of rows.

    Args:
        path: Of the file.
        shape: R, N and K.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self._path, self._shape = path, shape

    def add(self, unit: int, found: Iterable[Sequence[Neighbors]]) -> None:
        """Add what all queries have found in one more unit: all of it, or nothing.

        Args:
            unit: Its number.
            found: Some queries after the other: ``(n, K)`` for each of the R selections.

        Raises:
            UserError: If the file is there and damaged.
        """
        units = [*self.units, unit]
        chunks = (1, max(1, min(CHUNK, self._shape[1])), self._shape[2])
        with atomic_write(self._path) as unfinished, h5py.File(unfinished, "x", locking=False) as file:
            file.create_dataset("units", data=np.asarray(units, np.int64), chunks=(len(units),), fletcher32=True)
            for name, dtype in (("ids", np.int64), ("distances", np.float32)):
                file.create_dataset(name, self._shape, dtype, chunks=chunks, fletcher32=True)
            start = 0
            for more in found:
                ids, distances = (torch.stack(parts).cpu() for parts in zip(*more, strict=True))  # (R, n, K)
                for first in range(0, ids.shape[1], CHUNK):  # merging takes some times as much memory
                    part = slice(first, first + CHUNK)
                    added = Neighbors(ids[:, part], distances[:, part])
                    queries = slice(start, start := start + added.ids.shape[1])
                    merged = nearest([self.read(queries), added], self._shape[2]) if len(units) > 1 else added
                    file["ids"][:, queries], file["distances"][:, queries] = (part.numpy() for part in merged)

    @property
    def units(self) -> list[int]:
        """The numbers of the units; none before the first is added.

        Raises:
            UserError: If the file is damaged.
        """
        if not self._path.exists():
            return []
        with self._opened() as file:
            units: list[int] = file["units"][()].tolist()
            return units

    def read(self, queries: slice) -> Neighbors:
        """Return what some of the queries have found, ``(R, n, K)``.

        Raises:
            UserError: If the file is damaged.
        """
        with self._opened() as file:
            return Neighbors(*(torch.from_numpy(file[name][:, queries]) for name in Neighbors._fields))

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        with undamaged(self._path, REMEDY), h5py.File(self._path, "r", locking=False) as file:
            for name, form in {
                "units": (np.int64, None),
                "ids": (np.int64, self._shape),
                "distances": (np.float32, self._shape),
            }.items():
                column = file[name]
                if column.dtype != form[0] or column.shape != (form[1] or column.shape[:1]) or not column.fletcher32:
                    raise ValueError(f"{name} is {column.dtype}{column.shape}")
            yield file
