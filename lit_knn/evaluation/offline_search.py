"""Answers that wait: first all attacks, then one pass over the database for all queries at once, then the votes.

Where the store itself is searched, every search reads all of it. Attacks that do not look at the database need none
before the end of the test; so what the defended classifier makes of their images is kept, a file for each batch, and
looked up together. It goes on where it was stopped, with any number of processes.

    folder/<first id>-<N>.npz        a batch: logits, features, realized Δ, flat gradients
    folder/found/<tap>-<unique>.npz  what one process has found in some units of the database
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Trainer
from torch import Tensor

from lit_knn.backbones import Classifier
from lit_knn.database import StoredGallery
from lit_knn.database.index import Neighbors, increments, nearest
from lit_knn.distributed.collectives import meet
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.evaluation.cache import Attacked, LookedUp
from lit_knn.evaluation.sample_results import BATCH, REMEDY, batch_path, require_batch
from lit_knn.randomness import Randomness
from lit_knn.storage.atomic import load_arrays, undamaged, unfinished_name, write_arrays

UNIT = 1 << 20  # rows of the database after which what has been found is kept
LEAST_UNITS = 16  # so that a small database is shared out as well
SEARCH = "delete it, and the same test searches its part of the database again"
SIZES = {"realized": ("float32", 2)}
FOUND = {"units": ("int64", 1), "ids": ("int64", 3), "distances": ("float32", 3)}


class Deferral:
    """The batches of a test whose queries wait for their neighbors, in a folder that all processes share.

    Args:
        folder: Created when something is kept.
        classifier: The defended one.
        views: Where neighbors will be looked for: a gallery, or several of which each has all rows of the one before.
        needed: Largest number of neighbors that any defense wants, by tap.
        seed: Of defenses that draw random numbers.
    """

    def __init__(
        self,
        folder: Path,
        classifier: Classifier,
        views: Sequence[StoredGallery],
        needed: dict[str, int],
        seed: int = 0,
    ) -> None:
        self.folder, self._seed = folder, seed
        self._classifier, self._views, self._needed = classifier, views, needed
        self._store = views[-1].store
        count = max(LEAST_UNITS, -(-len(self._store) // UNIT))
        self._units = [Partition(number, count) for number in range(1, count + 1)]
        self._increments = increments(
            [view.among for view in views], len(self._store)
        )  # so that each row is compared once
        self._mine: list[tuple[Tensor, Tensor, str]] = []  # id, label and hash of the batches of this process

    def keep(self, ids: Tensor, label: Tensor, batch: str, looks: Callable[[], Iterable[Attacked]]) -> None:
        """Let a batch wait.

        Args:
            ids: ``(N,)`` int64.
            label: ``(N,)`` int64.
            batch: A hash of its images, labels and ids.
            looks: Called unless the batch has been kept before; gives N images at a time, L times: clean, and attacked.
        """
        self._mine.append((ids, label, batch))
        path = batch_path(self.folder, ids)
        if path.exists():
            require_batch(path, load_arrays(path, REMEDY, BATCH), batch)
            return
        columns: dict[str, list[Tensor]] = {}
        for look in looks():
            parts = {"logits": look.query.logits}
            parts |= {"realized": look.realized.float(), "normalized": look.realized_normalized.float()}
            parts |= {"flat": look.flat}
            parts |= {f"features/{tap}": look.query.features(tap).float() for tap in self._needed}
            for name, part in parts.items():
                columns.setdefault(name, []).append(part.detach().cpu())
        arrays = {name: torch.stack(parts).numpy() for name, parts in columns.items()}  # (L, N, ...)
        write_arrays(path, {"batch": batch, **arrays})

    def look_up(self, trainer: Trainer, *, tell: Callable[[str], object], pause: Callable[[], object]) -> None:
        """Share what is left among all processes, search, and wait for each other; nobody may `keep` any more.

        Args:
            trainer: Has started the processes.
            tell: Told how far it is.
            pause: Called before each unit; whatever it raises, the units before are kept.
        """
        meet(pause)  # all batches of all processes wait from here on
        units = self.left(Partition(trainer.global_rank + 1, trainer.world_size))
        meet(pause)  # nobody searches before each knows its share
        self.search(units, tell=tell, pause=pause)
        meet(pause)

    def left(self, share: Partition) -> dict[str, Sequence[Partition]]:
        """Return a share of the units of the database that have not been searched yet, by tap.

        Every process has to be done with `keep`, and none may be searching.
        """
        if not self._batches():
            return {}
        done = {tap: self._done(tap) for tap in self._needed}
        return {tap: share.of([unit for unit in self._units if unit.number not in done[tap]]) for tap in self._needed}

    def search(
        self,
        units: Mapping[str, Sequence[Partition]],
        *,
        tell: Callable[[str], object] = str,
        pause: Callable[[], object] = bool,
    ) -> None:
        """Look for the neighbors of all batches of all processes, which have to be done with `keep` before.

        Args:
            units: Of the database, by tap.
            tell: As above.
            pause: As above.
        """
        for tap, parts in units.items():
            queries = np.concatenate([self._features(path, tap) for path in self._batches()])  # (L·N, D)
            k = self._needed[tap]
            shape = (len(self._increments), len(queries), k)
            found = Neighbors(np.full(shape, -1), np.full(shape, np.inf, np.float32))
            path = self.folder / "found" / f"{tap}-{self._queries()}-{uuid.uuid4().hex}.npz"
            for done, part in enumerate(parts, 1):
                pause()
                tell(f"neighbors in {tap}, unit {done} of {len(parts)}")
                more = self._views[-1].part(tap, part, queries, k, self._increments)
                found = nearest([found, Neighbors(*map(np.stack, zip(*more, strict=True)))], k)  # (R, L·N, K)
                write_arrays(path, {"units": [part.number for part in parts[:done]], **found._asdict()})

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, str, list[Attacked]]]:
        """Yield id, label, hash and looks of each batch of this process, with the neighbors that all have found.

        Raises:
            UserError: If a part of the database has not been searched for all queries, or a file is damaged.
        """
        if not self._mine:
            return  # all of it had been answered before
        sizes = {path: load_arrays(path, REMEDY, SIZES)["realized"].size for path in self._batches()}
        starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
        found = {tap: self._all_found(tap, sum(sizes.values())) for tap in self._needed}
        for ids, label, batch in self._mine:
            path = batch_path(self.folder, ids)
            rows = slice(starts[path], starts[path] + sizes[path])
            nearby = {tap: Neighbors(ids[:, rows], distances[:, rows]) for tap, (ids, distances) in found.items()}
            yield ids, label, batch, self._looks(path, ids, nearby)

    def clear(self) -> None:
        """Remove the folder, if there is one: every batch has been answered."""
        if self.folder.exists():
            gone = self.folder.rename(unfinished_name(self.folder))
            shutil.rmtree(gone)  # half of the folder under its name would be looked up by another test

    def _looks(self, path: Path, queries: Tensor, nearby: dict[str, Neighbors]) -> list[Attacked]:
        with undamaged(path, REMEDY):
            arrays = load_arrays(path, REMEDY)
            names = ["realized", "normalized", "flat", "logits", *(f"features/{tap}" for tap in self._needed)]
            if {arrays[name].shape[:2] for name in names} != {(arrays["realized"].shape[0], len(queries))}:
                raise ValueError(f"its columns are not of {len(queries)} queries")
            columns = {name: torch.from_numpy(arrays[name]).to(queries.device) for name in names}
        size, looks = len(queries), []
        for look in range(len(columns["realized"])):
            rows = slice(look * size, (look + 1) * size)
            found = [
                {tap: Neighbors(ids[view, rows], distances[view, rows]) for tap, (ids, distances) in nearby.items()}
                for view in range(len(self._views))
            ]
            features = {tap: columns[f"features/{tap}"][look] for tap in nearby}
            randomness = Randomness(self._seed, queries)
            query = LookedUp(columns["logits"][look], features, found, self._classifier, self._views, randomness)
            looks.append(Attacked(query, *(columns[name][look] for name in ("realized", "normalized", "flat"))))
        return looks

    def _features(self, path: Path, tap: str) -> NDArray[np.float32]:
        """Return the features of L looks at N queries, ``(L·N, D)``."""
        name, dimension = f"features/{tap}", self._store.schema.dimensions[tap]
        with undamaged(path, REMEDY):
            features: NDArray[np.float32] = load_arrays(path, REMEDY, {name: ("float32", 3)})[name]
            if features.shape[2] != dimension:
                raise ValueError(f"{name} has {features.shape[2]} dimensions, not {dimension}")
        return features.reshape(-1, dimension)

    def _batches(self) -> list[Path]:
        return sorted(self.folder.glob("*.npz"))

    def _queries(self) -> str:
        """Return a name for the batches that wait: a longer run than before, or another, looks for all of them again."""
        told = [f"{path.name} {load_arrays(path, REMEDY, BATCH)['batch']}" for path in self._batches()]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:8]

    def _found(self, tap: str) -> list[Path]:
        start = f"{tap}-{self._queries()}-"
        return sorted(path for path in (self.folder / "found").glob("*.npz") if path.name.startswith(start))

    def _done(self, tap: str) -> set[int]:
        return {unit for path in self._found(tap) for unit in load_arrays(path, SEARCH, FOUND)["units"].tolist()}

    def _all_found(self, tap: str, queries: int) -> Neighbors:
        """Return the neighbors of all queries in each view, ``(V, L·N, K)``, once each row has been compared with each."""
        k = self._needed[tap]
        shape = (len(self._increments), queries, k)
        found: list[tuple[list[int], Neighbors]] = []
        for path in self._found(tap):
            with undamaged(path, SEARCH):
                arrays = load_arrays(path, SEARCH, FOUND)
                if not arrays["ids"].shape == arrays["distances"].shape == shape:
                    raise ValueError(f"neighbors are {arrays['ids'].shape}, not {shape}")
            found.append((arrays["units"].tolist(), Neighbors(arrays["ids"], arrays["distances"])))
        units, files = list[int](), list[Neighbors]()
        for more, neighbors in sorted(found, key=lambda one: len(one[0]), reverse=True):
            if not {*more} & {*units}:  # or else the same test, started twice, has searched them at the same time
                units += more
                files.append(neighbors)
        if sorted(units) != [unit.number for unit in self._units]:
            lost = sorted({unit.number for unit in self._units} - set(units)) or "some twice"
            raise UserError(
                f"{self.folder / 'found'} has not all of the database at {tap} for all queries (units {lost} of "
                f"{len(self._units)}); delete it and run the same test again"
            )
        added = map(Neighbors, *nearest(files, k))
        views = accumulate(added, lambda smaller, increment: nearest([smaller, increment], k))
        return Neighbors(*map(np.stack, zip(*views, strict=True)))
