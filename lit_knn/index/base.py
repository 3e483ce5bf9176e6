"""The contract of an index: ids are rows of the store, all of them real, nearest first."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from lit_knn.errors import UserError
from lit_knn.index.selection import Selection
from lit_knn.sealing import sealed
from lit_knn.store import Store


class Neighbors(NamedTuple):
    """The K nearest rows of N queries, nearest first.

    Attributes:
        ids: ``(N, K)`` int64, rows of the store.
        distances: ``(N, K)`` float32, Euclidean, in units of the features; approximate for a lossy index.
    """

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


class Index(ABC):
    """An index over the features of one tap: a file, and beside it a sidecar (JSON) that says what it belongs to.

    A variant says how to build, load and search; checks and sealing are here.
    """

    _path: Path | None = None
    _rows = 0
    _dimension = 0

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the file depends on besides the features, as JSON; a file built with other settings is refused."""

    @abstractmethod
    def _build(self, store: Store, tap: str, path: Path) -> None:
        """Write an index over all rows of a tap, in order."""

    @abstractmethod
    def _load(self, path: Path) -> None:
        """Get ready to search a file that `_build` wrote."""

    @abstractmethod
    def _search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None) -> Neighbors:
        """Return the k nearest rows of ``(N, D)`` float32, of those that ``among`` allows, ids −1 beyond them."""

    @final
    def build(self, store: Store, tap: str, path: Path) -> None:
        """Index all rows of a tap and seal the file.

        Raises:
            UserError: If the store does not have the tap, or too few rows for the settings.
        """
        if tap not in store.schema.dimensions:
            raise UserError(f"store {store.folder} has no tap {tap!r}; it has {', '.join(store.schema.dimensions)}")
        sidecar = _sidecar(path)
        with sealed(path) as unfinished:
            self._build(store, tap, unfinished)
            size = unfinished.stat().st_size
            sidecar.unlink(missing_ok=True)  # never beside a file that it does not describe
        description = {
            "store": store.checksum,
            "tap": tap,
            "rows": len(store),
            "dimension": store.schema.dimensions[tap],
            "size": size,
            "settings": self.settings,
        }
        with sealed(sidecar) as unfinished:
            unfinished.write_text(json.dumps(description, indent=1, sort_keys=True) + "\n")

    @final
    def load(self, path: Path, checksum: str) -> None:
        """Open a file for searching.

        Args:
            path: As given to `build`.
            checksum: Of the store that the ids shall belong to.

        Raises:
            UserError: If the file is missing, cut, or was built over another store or with other settings.
        """
        remedy = "run `lit-knn index`"
        try:
            description = json.loads(_sidecar(path).read_bytes())
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise UserError(f"index {path} is missing or was never finished; {remedy}") from error
        except ValueError as error:
            raise UserError(f"{_sidecar(path)} is damaged ({error}); {remedy} again") from error
        if description["store"] != checksum:
            raise UserError(f"index {path} was built over another store; {remedy} again")
        if (built := description["settings"]) != self.settings:
            raise UserError(f"index {path} was built with {built}, not {self.settings}; {remedy} again")
        if size != description["size"]:
            raise UserError(f"index {path} has {size} of {description['size']} bytes; {remedy} again")
        self._load(path)
        self._path, self._rows, self._dimension = path, description["rows"], description["dimension"]

    @final
    def search(self, features: npt.NDArray[np.float32], k: int, among: Selection | None = None) -> Neighbors:
        """Return the k nearest rows of each query.

        Args:
            features: ``(N, D)`` float32, finite.
            k: From 1 to the number of rows.
            among: The rows that may be found; all by default.

        Raises:
            UserError: If a feature is NaN or infinite, there are fewer than k rows, or an approximate search did not
                look at k of them.
        """
        if self._path is None:
            raise RuntimeError("the index has not been loaded")
        features = np.ascontiguousarray(features, np.float32)
        if features.ndim != 2 or features.shape[1] != self._dimension:
            raise UserError(f"index {self._path} takes features (N, {self._dimension}), not {features.shape}")
        rows = self._rows if among is None else len(among)
        if not 1 <= k <= rows:
            raise UserError(f"index {self._path} has {rows} rows and cannot find k = {k} neighbours")
        if not (finite := np.isfinite(features).all(axis=1)).all():
            raise UserError(f"features of query {finite.argmin()} of {len(features)} are NaN or infinite")
        neighbors = self._search(features, k, among)
        if (neighbors.ids < 0).any():
            short = (neighbors.ids < 0).any(axis=1).sum()
            raise UserError(
                f"index {self._path} found fewer than k = {k} neighbours for {short} of {len(features)} queries: raise "
                "nprobe (IVF) or efSearch (HNSW) in search_parameters"
            )
        return neighbors


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
