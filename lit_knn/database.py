"""The database of a defense in one folder: a sealed store, the projections of its features, and an index per tap.

folder/projection/<tap>.h5     PCA, fitted by `lit-knn extract`
folder/store/                  sealed HDF5 shards and their manifest
folder/index/<tap>.faiss       built by `lit-knn index`
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.backbones import Classifier, Projection, Tap
from lit_knn.ballots import Ballots
from lit_knn.data import ImageData
from lit_knn.errors import UserError
from lit_knn.fingerprint import Fingerprint
from lit_knn.index import Faiss, Index, Neighbors
from lit_knn.store import Store, is_sealed, shard_name

PACKED_ABOVE = 64  # classes: below, a complete row is shorter than a packed one of 21 entries


@final  # and so YAML names its arguments without a class path
class Database:
    """Where a defense looks for neighbours.

    Args:
        path: Its folder.
        taps: The features kept of each image.
        index: How neighbours are found, the same for each tap; by default exact search.
        softmax: ``dense`` keeps complete rows, ``packed`` the 21 largest classes; ``auto`` packs above 64 classes.
        projection_rows: About how many images PCA is fitted on, evenly spread over the database; all by default.
        key_width: Longest name of an image that the store keeps, in bytes.
        build_missing: Let ``lit-knn test`` extract and index what is missing, instead of stopping with the command.
        rows: How many of its rows the defense searches: the first ones in a random order, so that a smaller database
            is a part of each larger one. All by default.
        order_seed: Seed of that order.
    """

    def __init__(
        self,
        *,
        path: str | Path,
        taps: list[Tap],
        index: Index | None = None,
        softmax: Literal["auto", "dense", "packed"] = "auto",
        projection_rows: int | None = None,
        key_width: int = 64,
        build_missing: bool = False,
        rows: int | None = None,
        order_seed: int = 0,
    ) -> None:
        names = [tap.name for tap in taps]
        if not names or len(set(names)) < len(names):
            raise UserError(f"model.database takes taps with different names, at least one, not {names}")
        self.path = Path(path)
        self.taps = {tap.name: tap for tap in taps}
        self.index = index or Faiss()
        self.softmax = softmax
        if projection_rows is not None and projection_rows < 2:
            raise UserError(f"model.database.projection_rows is {projection_rows}; 2 and more are accepted")
        self.projection_rows = projection_rows
        self.key_width, self.build_missing = key_width, build_missing
        if rows is not None and rows < 1:
            raise UserError(f"model.database.rows is {rows}; 1 and more are accepted")
        self.rows, self.order_seed = rows, order_seed
        self._among: NDArray[np.bool_] | None = None
        self._projections: dict[str, Projection] = {}
        self._indexes: dict[str, Index] = {}
        self._store: Store | None = None

    # ---------------------------------------------------------------- answering

    def open(self, classifier: Classifier, data: ImageData) -> None:
        """Map the store and load projections and indexes, once they are known to belong together.

        Raises:
            UserError: If a part is missing (the sentence names the command that builds it), damaged, or was made from
                another model, tap, preprocessing or data set.
        """
        self._store = Store(self.store_path, fingerprint=self.fingerprint(classifier, data))
        for tap in self.taps:
            index = copy.copy(self.index)
            index.load(self.index_path(tap), self._store.checksum)
            self._indexes[tap] = index
        self._data = data
        self._among = None if self.rows is None else self.view(0, self.rows).among

    def view(self, start: int, stop: int) -> Database:
        """Return the same opened database with fewer rows to search: those from ``start`` to ``stop`` in random order.

        Raises:
            UserError: If the store does not have that many rows.
        """
        if not 0 <= start < stop <= len(self.store):
            raise UserError(
                f"rows {start:,} to {stop:,} of {self.path} are asked for, in random order, but it has {len(self.store):,}"
            )
        view = copy.copy(self)
        order = np.random.RandomState(self.order_seed).permutation(len(self.store))  # NumPy froze this generator
        view._among = np.zeros(len(order), bool)
        view._among[order[start:stop]] = True
        return view

    @property
    def among(self) -> NDArray[np.bool_] | None:
        """The rows that are searched, ``(M,)`` bool; None for all."""
        return self._among

    @property
    def store(self) -> Store:
        """The opened store."""
        if self._store is None:
            raise RuntimeError("the database has not been opened")
        return self._store

    def features(
        self, classifier: Classifier, image: Tensor, taps: Iterable[str] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits ``(N, C)`` and projected features ``{tap: (N, D)}`` of one forward pass.

        Args:
            classifier: The network that the database was extracted with.
            image: ``(N, 3, H, W)`` float32 in [0, 1].
            taps: Which; all by default.
        """
        logits, pooled = classifier.tapped(image, [self.tap(name) for name in (self.taps if taps is None else taps)])
        return logits, {name: self.project(name, activation) for name, activation in pooled.items()}

    def tap(self, name: str) -> Tap:
        """Return a tap by name.

        Raises:
            UserError: If the database has none of that name.
        """
        if name not in self.taps:
            raise UserError(f"the database has no tap {name!r}; it has {', '.join(self.taps)}")
        return self.taps[name]

    def project(self, tap: str, pooled: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of pooled activations, in their dtype."""
        features: Tensor = self._projections[tap].to(pooled.device)(pooled)
        return features

    def search(self, tap: str, features: Tensor, k: int) -> Neighbors:
        """Return the k nearest rows of ``(N, D)`` features."""
        return self._indexes[tap].search(features.detach().float().cpu().numpy(), k, self._among)

    def images(self, ids: NDArray[np.int64], device: torch.device) -> Tensor:
        """Read the images of rows ``(N, K)`` again: ``(N, K, 3, H, W)`` float32 in [0, 1].

        Raises:
            UserError: If one cannot be read, or they differ in size.
        """
        shards, rows = (part.ravel().tolist() for part in self.store.locate(ids))
        images = [self._data.image("database", shard, row) for shard, row in zip(shards, rows, strict=True)]
        if len(sizes := {tuple(image.shape) for image in images}) > 1:
            raise UserError(f"images of the database differ in size, {sorted(sizes)[:2]}: set data.preprocessing")
        pixels = torch.stack(images).to(device).float() / 255
        return pixels.view(*ids.shape, *pixels.shape[1:])  # (N, K, 3, H, W)

    def ballots(self, ids: NDArray[np.int64], device: torch.device) -> Ballots:
        """Return what rows ``(N, K)`` predict."""
        probability, label = self.store.predictions(ids)
        return Ballots(
            torch.from_numpy(probability).to(device).float(),
            None if label is None else torch.from_numpy(label.astype(np.int64)).to(device),
            self.store.schema.num_classes,
        )

    def weights(self, name: str, *, ids: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return a weight column of rows ``(N, K)``, float32."""
        return torch.from_numpy(self.store.weights(name, ids)).to(device)

    # ---------------------------------------------------------------- building

    @property
    def store_path(self) -> Path:
        """Folder of the sealed shards."""
        return self.path / "store"

    def projection_path(self, tap: str) -> Path:
        """File of a tap's projection."""
        return self.path / "projection" / f"{tap}.h5"

    def index_path(self, tap: str) -> Path:
        """File of a tap's index."""
        return self.path / "index" / f"{tap}.faiss"

    def shard_path(self, shard: int) -> Path:
        """File of the rows of one source shard."""
        return self.store_path / shard_name(shard)

    def packs(self, num_classes: int) -> bool:
        """Return whether softmax rows of so many classes are shortened."""
        return self.softmax == "packed" or (self.softmax == "auto" and num_classes > PACKED_ABOVE)

    def origins(self, classifier: Classifier, data: ImageData) -> dict[str, Fingerprint]:
        """Return, for each tap, what its activations depend on before PCA; weights and data set are hashed once."""
        shared = {
            "classifier": classifier.fingerprint(),
            "dataset": data.database_source.identity(),
            "preprocessing": data.preprocessing.identity() if data.preprocessing else "none",
        }
        return {
            name: shared | {f"tap {name}": f"{tap.layer}, pool {tap.side}, dimension {tap.dimension}"}
            for name, tap in self.taps.items()
        }

    def fingerprint(self, classifier: Classifier, data: ImageData) -> Fingerprint:
        """Load the projections and return everything that the rows of the store depend on.

        Raises:
            UserError: If a projection is missing, damaged or of another origin.
        """
        parts: Fingerprint = {}
        for tap, origin in self.origins(classifier, data).items():
            self._projections[tap] = Projection.load(self.projection_path(tap), origin)
            parts |= origin | {f"projection {tap}": self._projections[tap].fingerprint()}
        return parts

    def unfitted(self) -> list[str]:
        """Return the taps that have no projection yet."""
        return [tap for tap in self.taps if not self.projection_path(tap).exists()]

    def unsealed(self, shards: Iterable[int], fingerprint: Fingerprint) -> list[int]:
        """Return the source shards whose rows are not in the store yet.

        Raises:
            UserError: If one is there, but damaged or made from something else.
        """
        return [shard for shard in shards if not is_sealed(self.shard_path(shard), fingerprint)]

    def build_indexes(self, classifier: Classifier, data: ImageData) -> None:
        """Build the index of each tap over the whole store."""
        store = Store(self.store_path, fingerprint=self.fingerprint(classifier, data))
        for tap in self.taps:
            self.index.build(store, tap, self.index_path(tap))

    def is_complete(self) -> bool:
        """Return whether store and indexes have been built, from whatever."""
        return (self.store_path / "manifest.json").exists() and all(self.index_path(tap).exists() for tap in self.taps)
