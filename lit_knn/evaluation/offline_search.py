"""Search that waits: first all attacks, then one pass over the database for all queries at once, then the votes.

Where the store itself is searched, every search reads all of it. Attacks that do not look at the database need none
before the end of the test; so the activations of all batches wait in the cache, and are looked up together. It goes on
where it was stopped, with any number of processes.

    folder/<run>/<first id>-<N>.npz          a batch that waits: what the cache knows it by
    folder/<run>/found/<tap>-<unique>.h5     what one process has found in some units of the database
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from lit_knn.database.index import Neighbors, increments, nearest
from lit_knn.database.joined_taps import features_of, parts_of
from lit_knn.distributed.collectives import meet
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.evaluation.cache import BatchFile, BatchKey, CachedCase
from lit_knn.evaluation.found_neighbors import FoundNeighbors
from lit_knn.evaluation.observation import Observation, Observer
from lit_knn.evaluation.run_context import RunContext
from lit_knn.evaluation.sample_results import batch_name
from lit_knn.storage.atomic import remove_abandoned, write_arrays, writing
from lit_knn.storage.reading import load_arrays

UNIT = 1 << 20  # rows of the database after which what has been found is kept
LEAST_UNITS = 16  # so that a small database is shared out as well
REMEDY = "delete it, and the same test goes on"
GROUP = 4096  # images searched for at a time: the next ones read a unit's rows again, from the system's file cache
BATCH = {"digest": ("U16", 0), "id": ("int64", 1)}


class OfflineSearch:
    """The batches of a test whose queries wait for their neighbors, in a folder that all processes share.

    An image takes no memory while it waits. On disk it takes 4 D bytes while a tap is searched, and 12 K for each size
    of the database.

    Args:
        folder: Created when something is kept.
        run: A hash of 16 digits of all that the results of the run depend on.
        observer: Knows the databases, each of which has all rows of the one before, and what is looked for.
        cells: Where the cache keeps a batch: clean, and attacked in every case at every Δ, L in all.
        device: Where features are projected.
    """

    def __init__(
        self,
        folder: Path,
        run: str,
        observer: Observer,
        cells: Sequence[tuple[CachedCase, float]],
        device: torch.device,
    ) -> None:
        self.folder = folder / run
        self._observer, self._cells, self._device = observer, cells, device
        self._views, self._needed = observer.views, observer.needed
        self._store = self._views[-1].store
        count = max(LEAST_UNITS, -(-len(self._store) // UNIT))
        self._units = [Partition(number, count) for number in range(1, count + 1)]
        # so that each row is compared once
        self._increments = increments([view.among for view in self._views], len(self._store))
        self._mine: list[tuple[BatchKey, Tensor]] = []  # and labels, of the batches of this process

    def tidy(self) -> None:
        """Remove what killed writers have left."""
        for folder in (self.folder, self.folder / "found"):
            remove_abandoned(folder)

    def add(self, batch: BatchKey, label: Tensor) -> None:
        """Let a batch wait that the cache has all wanted columns of, with its labels ``(N,)``."""
        self._mine.append((batch, label))
        path = self.folder / batch_name(batch.ids.tolist())
        if not path.exists() or self._key(path).digest != batch.digest:
            write_arrays(path, {"digest": batch.digest, "id": batch.ids.cpu().numpy()})

    def run(self, trainer: Trainer, context: RunContext) -> None:
        """Share what is left among all processes, search, and wait for each other; nobody may `add` any more.

        Args:
            trainer: Has started the processes.
            context: Is told how far it is; its pause is called before each unit, and the units before are kept.
        """
        meet(context.pause)  # all batches of all processes wait from here on
        units = self.left(Partition(trainer.global_rank + 1, trainer.world_size))
        meet(context.pause)  # nobody searches before each knows its share
        self.search(units, context)
        meet(context.pause)

    def left(self, share: Partition) -> dict[str, Sequence[Partition]]:
        """Return a share of the units of the database that have not been searched yet, by tap.

        Every process has to be done with `add`, and none may be searching.
        """
        batches = self._batches()
        if not batches:
            return {}
        done = {tap: {unit for file in self._found(tap, batches) for unit in file.units} for tap in self._needed}
        return {tap: share.of([unit for unit in self._units if unit.number not in done[tap]]) for tap in self._needed}

    def search(self, units: Mapping[str, Sequence[Partition]], context: RunContext = RunContext()) -> None:  # noqa: B008
        """Look for the neighbors of all batches of all processes, which have to be done with `add` before.

        Args:
            units: Of the database, by tap.
            context: As above.
        """
        batches = self._batches()
        for tap, parts in units.items():
            if not parts:
                continue
            file = self._file(f"{tap}-{_hash(batches)}-{uuid.uuid4().hex}.h5", tap, batches)
            with TemporaryFile(dir=self.folder) as features:
                self._write_features(features, tap, batches)
                for done, part in enumerate(parts, 1):
                    context.pause()
                    context.tell(f"neighbors in {tap}, unit {done} of {len(parts)}")
                    file.add(part.number, self._find(features, tap, part))

    def _write_features(self, file: IO[bytes], tap: str, batches: Sequence[BatchKey]) -> None:
        """Write the features of all queries ``(Q, D)``: batch by batch, L times N."""
        columns = {part: self._observer.taps[part] for part in parts_of(tap)}
        with writing(self.folder):
            for kept in (kept for batch in batches for kept in self._files(batch)):
                read = kept.read({*columns.values()})
                found = features_of(self._views[-1], tap, {part: read[column] for part, column in columns.items()})
                found.float().cpu().numpy().tofile(file)

    def _find(self, file: IO[bytes], tap: str, unit: Partition) -> Iterator[Sequence[Neighbors]]:
        """Yield what the queries whose features are in a file find in a unit, in each increment, some at a time."""
        dimension = self._store.schema.dimensions[tap]
        file.seek(0)
        while len(features := np.fromfile(file, np.float32, GROUP * dimension)):
            queries = torch.from_numpy(features).view(-1, dimension)
            yield self._views[-1].part(tap, unit, queries, self._needed[tap], self._increments)

    def __iter__(self) -> Iterator[tuple[BatchKey, Tensor, Iterable[Observation]]]:
        """Yield each batch of this process with its labels and L observations, and the neighbors that all have found.

        Raises:
            UserError: If a part of the database has not been searched for all queries, or a file is damaged.
        """
        if not self._mine:
            return
        batches = self._batches()
        starts = {batch.name: self._count(batches[:number]) for number, batch in enumerate(batches)}
        found = {tap: self._complete(tap, batches) for tap in self._needed}
        for batch, label in self._mine:
            yield batch, label, self._observations(batch, starts[batch.name], found)

    def _observations(
        self, batch: BatchKey, start: int, found: Mapping[str, Sequence[FoundNeighbors]]
    ) -> Iterator[Observation]:
        rows = slice(start, start + len(self._cells) * len(batch.ids))
        nearby = {tap: self._merged(tap, parts, rows) for tap, parts in found.items()}
        for number, file in enumerate(self._files(batch)):
            part = slice(number * len(batch.ids), (number + 1) * len(batch.ids))
            views = [
                {tap: Neighbors(ids[view, part], distances[view, part]) for tap, (ids, distances) in nearby.items()}
                for view in range(len(self._views))
            ]
            yield self._observer.observation(batch.ids, file.read(self._observer.wanted), views)

    def _merged(self, tap: str, parts: Sequence[FoundNeighbors], rows: slice) -> Neighbors:
        """Return the neighbors of some queries in each of the views, ``(V, n, K)``."""
        k = self._needed[tap]
        added = map(Neighbors, *nearest([part.read(rows) for part in parts], k))
        views = accumulate(added, lambda smaller, increment: nearest([smaller, increment], k))
        return Neighbors(*map(torch.stack, zip(*views, strict=True))).to(self._device)

    def _files(self, batch: BatchKey) -> Iterator[BatchFile]:
        return (case.file(batch, delta) for case, delta in self._cells)

    def _batches(self) -> list[BatchKey]:
        return [self._key(path) for path in sorted(self.folder.glob("*.npz"))]

    def _key(self, path: Path) -> BatchKey:
        arrays = load_arrays(path, REMEDY, BATCH)
        return BatchKey(torch.from_numpy(arrays["id"]).to(self._device), str(arrays["digest"]))

    def _count(self, batches: Sequence[BatchKey]) -> int:
        """Return Q, how many images of all batches wait."""
        return len(self._cells) * sum(len(batch.ids) for batch in batches)

    def _file(self, name: str, tap: str, batches: Sequence[BatchKey]) -> FoundNeighbors:
        shape = len(self._increments), self._count(batches), self._needed[tap]
        return FoundNeighbors(self.folder / "found" / name, shape)

    def _found(self, tap: str, batches: Sequence[BatchKey]) -> list[FoundNeighbors]:
        paths = sorted((self.folder / "found").glob("*.h5"))
        start = f"{tap}-{_hash(batches)}-"
        return [self._file(path.name, tap, batches) for path in paths if path.name.startswith(start)]

    def _complete(self, tap: str, batches: Sequence[BatchKey]) -> list[FoundNeighbors]:
        """Return files of which each unit of the database is in one.

        Raises:
            UserError: If a unit is in none.
        """
        found = [(file.units, file) for file in self._found(tap, batches)]
        units, files = list[int](), list[FoundNeighbors]()
        for more, file in sorted(found, key=lambda one: len(one[0]), reverse=True):
            if not {*more} & {*units}:  # or else the same test, started twice, has searched them at the same time
                units += more
                files.append(file)
        if sorted(units) != [unit.number for unit in self._units]:
            lost = sorted({unit.number for unit in self._units} - set(units)) or "some twice"
            raise UserError(
                f"{self.folder / 'found'} has not all of the database at {tap} for all queries (units {lost} of "
                f"{len(self._units)}); delete it and run the same test again"
            )
        return files


def _hash(batches: Sequence[BatchKey]) -> str:
    """Return a name for the batches that wait: a longer run than before looks for all of them again."""
    return hashlib.sha256("\n".join(batch.name for batch in batches).encode()).hexdigest()[:8]
