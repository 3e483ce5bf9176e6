"""Answers that wait: first all attacks, then one pass over the database for all queries at once, then the votes.

Where the store itself is searched, every search reads all of it. Attacks that do not look at the database need none
before the end of the test; so what the defended classifier makes of their images is kept, one sealed file for each
batch, and is looked up together. It goes on where it was stopped, with any number of processes.

    folder/<first id>-<N>.npz        a batch: logits, features, realised Δ
    folder/found/<tap>-<unique>.npz  what one process has found in some units of the database
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.backbones import Classifier
from lit_knn.cache import Attacked
from lit_knn.database import StoredGallery
from lit_knn.defenses import Query, Seen
from lit_knn.index import Neighbors, nearest
from lit_knn.outcomes import batch_path
from lit_knn.part import Part
from lit_knn.sealing import seal_arrays

UNIT = 1 << 20  # rows of the database after which what has been found is kept
LEAST_UNITS = 16  # so that a small database is shared out as well


class Deferral:
    """The batches of a test whose queries wait for their neighbours, in a folder that all processes share.

    Args:
        folder: Created when something is kept.
        classifier: The defended one.
        gallery: Where neighbours will be looked for.
        needed: Largest number of neighbours that any defense wants, by tap.
    """

    def __init__(self, folder: Path, classifier: Classifier, gallery: StoredGallery, needed: dict[str, int]) -> None:
        self.folder = folder
        self._classifier, self._gallery, self._needed = classifier, gallery, needed
        self._mine: list[tuple[Tensor, Tensor]] = []  # id and label of the batches of this process

    def keep(self, id: Tensor, label: Tensor, looks: Callable[[], Iterable[Attacked]]) -> None:
        """Let a batch wait.

        Args:
            id: ``(N,)`` int64.
            label: ``(N,)`` int64.
            looks: Called unless the batch has been kept before; gives N images at a time, L times: clean, and attacked.
        """
        self._mine.append((id, label))
        path = batch_path(self.folder, id)
        if path.exists():
            return
        columns: dict[str, list[Tensor]] = {}
        for look in looks():
            parts = {"logits": look.query.logits, "realised": look.realised, "normalized": look.realised_normalized}
            parts |= {f"features/{tap}": look.query.features(tap).float() for tap in self._needed}
            for name, part in parts.items():
                columns.setdefault(name, []).append(part.detach().cpu())
        arrays = {name: torch.stack(parts).numpy() for name, parts in columns.items()}  # (L, N, ...)
        seal_arrays(path, arrays)

    def left(self, share: Part) -> dict[str, Sequence[Part]]:
        """Return a share of the units of the database that have not been searched yet, by tap.

        No process may be searching.
        """
        count = max(LEAST_UNITS, -(-len(self._gallery.store) // UNIT))
        units = [Part(number, count) for number in range(1, count + 1)]
        done = {tap: self._done(tap) for tap in self._needed}
        return {tap: share.of([unit for unit in units if unit.number not in done[tap]]) for tap in self._needed}

    def search(self, units: Mapping[str, Sequence[Part]], *, tell: Callable[[str], object] = str) -> None:
        """Look for the neighbours of all batches of all processes.

        Every process has to be done with `keep` before, and with this before anybody iterates.

        Args:
            units: Of the database, by tap.
            tell: Told how far it is.
        """
        for tap, parts in units.items():
            queries = np.concatenate([_read(path, f"features/{tap}") for path in self._batches()])
            k = self._needed[tap]
            found = Neighbors(np.full((len(queries), k), -1), np.full((len(queries), k), np.inf, np.float32))
            path = self.folder / "found" / f"{tap}-{self._queries()}-{uuid.uuid4().hex}.npz"
            for done, part in enumerate(parts, 1):
                tell(f"neighbours in {tap}, unit {done} of {len(parts)}")
                found = nearest([found, self._gallery.part(tap, part, queries, k)], k)
                seal_arrays(path, {"units": [part.number for part in parts[:done]], **found._asdict()})

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, list[Attacked]]]:
        """Yield id, label and looks of each batch of this process, with the neighbours that all have found."""
        sizes = {path: _read(path, "realised").size for path in self._batches()}
        starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
        found = {tap: self._all_found(tap) for tap in self._needed}
        for id, label in self._mine:
            path = batch_path(self.folder, id)
            rows = slice(starts[path], starts[path] + sizes[path])
            nearby = {tap: Neighbors(ids[rows], distances[rows]) for tap, (ids, distances) in found.items()}
            yield id, label, self._looks(path, nearby, id.device)

    def clear(self) -> None:
        """Remove the folder: every batch has been answered."""
        if self.folder.exists():  # it does not where all of it had been answered before
            shutil.rmtree(self.folder)

    def _looks(self, path: Path, nearby: dict[str, Neighbors], device: torch.device) -> list[Attacked]:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: torch.from_numpy(file[name]).to(device) for name in file.files}
        many = len(columns["realised"])
        split = {  # L times (N, K)
            tap: list(map(Neighbors, np.split(ids, many), np.split(distances, many)))
            for tap, (ids, distances) in nearby.items()
        }
        return [
            Attacked(
                LookedUp(
                    columns["logits"][look],
                    {tap: columns[f"features/{tap}"][look] for tap in nearby},
                    {tap: found[look] for tap, found in split.items()},
                    self._classifier,
                    self._gallery,
                ),
                columns["realised"][look],
                columns["normalized"][look],
            )
            for look in range(many)
        ]

    def _batches(self) -> list[Path]:
        return sorted(self.folder.glob("*.npz"))

    def _queries(self) -> str:
        """Return a name for the batches that wait: a longer run than before looks for all of them again."""
        return hashlib.sha256("".join(path.name for path in self._batches()).encode()).hexdigest()[:8]

    def _found(self, tap: str) -> list[Path]:
        start = f"{tap}-{self._queries()}-"
        return sorted(path for path in (self.folder / "found").glob("*.npz") if path.name.startswith(start))

    def _done(self, tap: str) -> set[int]:
        return {unit for path in self._found(tap) for unit in _read(path, "units").tolist()}

    def _all_found(self, tap: str) -> Neighbors:
        parts = [Neighbors(_read(path, "ids"), _read(path, "distances")) for path in self._found(tap)]
        return nearest(parts, self._needed[tap])


class LookedUp(Query):
    """A query whose neighbours have been found."""

    def __init__(
        self,
        logits: Tensor,
        features: dict[str, Tensor],
        neighbors: dict[str, Neighbors],
        classifier: Classifier,
        gallery: StoredGallery,
    ) -> None:
        super().__init__(None, classifier, gallery, seen=Seen(logits, {}))
        self._features, self._neighbors = features, neighbors

    def features(self, tap: str) -> Tensor:
        """Return ``(N, D)`` projected features, float32."""
        return self._features[tap]


def _read(path: Path, name: str) -> NDArray[Any]:
    """Return a column of a file; features and Δ of L looks at N queries as ``(L·N, ...)`` rows."""
    with np.load(path, allow_pickle=False) as file:
        column: NDArray[Any] = file[name]
    return column.reshape(-1, *column.shape[2:]) if name.startswith(("features", "realised")) else column
