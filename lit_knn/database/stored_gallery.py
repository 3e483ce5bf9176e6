"""An opened database: the store, and the projection and index of each tap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_knn.backbones import Classifier, Projection, Tap
from lit_knn.data import ImageData
from lit_knn.data.pixels import unit
from lit_knn.database.gallery import Gallery
from lit_knn.database.index import Neighbors, OpenIndex, Selection
from lit_knn.database.joined_taps import parts_of, side_by_side
from lit_knn.database.random_order import RandomOrder
from lit_knn.database.store import HeldColumns, NeighborPredictions, Store
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint, digest


@dataclass(frozen=True)
class StoredGallery(Gallery):
    """All rows of a store, or a part of them.

    Attributes:
        store: Softmax, weights and features of all rows.
        taps: By name.
        projections: By name of the tap.
        indexes: By name of the tap, loaded, over all rows.
        data: Where the images are.
        order_seed: Of the random order in which views take rows.
        among: The rows that may be found; None for all.
        held: What is known of rows on a GPU; None where nothing is.
        network: Whose activations are searched; None for the defended classifier's.
    """

    store: Store
    taps: Mapping[str, Tap]
    projections: Mapping[str, Projection]
    indexes: Mapping[str, OpenIndex]
    data: ImageData
    order_seed: int = 0
    among: Selection | None = None
    held: HeldColumns | None = None
    network: Classifier | None = None

    def view(self, start: int, stop: int) -> StoredGallery:
        """Return rows ``start`` to ``stop`` of the store in random order: smaller views are parts of larger ones.

        Raises:
            UserError: If the store does not have that many rows, or an index cannot search a part of them.
        """
        (view,) = self._windows([(start, stop)])
        return view

    def nested(self, sizes: Sequence[int]) -> list[StoredGallery]:
        """Return the views of the first rows in random order, one of each size; see `view`."""
        return self._windows([(0, size) for size in sizes])

    def _windows(self, windows: Sequence[tuple[int, int]]) -> list[StoredGallery]:
        rows = len(self.store)
        for start, stop in windows:
            if not 0 <= start < stop <= rows:
                raise UserError(
                    f"rows {start:,} to {stop:,} of {self.store.folder} are asked for, in random order, but it has "
                    f"{rows:,}"
                )
        parts = [window for window in windows if window != (0, rows)]
        found = dict(zip(parts, RandomOrder(rows, self.order_seed).selections(parts), strict=True)) if parts else {}
        for among in found.values():
            for index in self.indexes.values():
                index.rehearse(among)
        return [replace(self, among=found.get(window)) for window in windows]

    def resident(self) -> StoredGallery:
        """Return the same rows for search and votes in a loop: see `OpenIndex.resident` and `Store.held`."""
        indexes = {tap: index.resident for tap, index in self.indexes.items()}
        return replace(self, indexes=indexes, held=self.store.held)

    def identity(self) -> Fingerprint:
        """Return what an answer depends on, besides the classifier that the store was made with."""
        return {
            "store": self.store.checksum,
            "index": describe(self.indexes),
            "rows": "all" if self.among is None else describe(self.among),
            **({} if self.network is None else {"network": self.store.fingerprint["network"]}),
        }

    def __len__(self) -> int:
        """Return how many rows may be found."""
        return len(self.store) if self.among is None else len(self.among)

    @property
    def ids(self) -> Tensor:
        """The rows that may be found, ascending, on the CPU."""
        return torch.arange(len(self.store)) if self.among is None else torch.from_numpy(self.among.ids())

    @property
    def num_classes(self) -> int:
        """C."""
        return self.store.schema.num_classes

    def tap(self, name: str) -> Tap:
        """Return a tap by name."""
        if name not in self.taps:
            raise UserError(f"the database has no tap {name!r}; it has {', '.join(self.taps)}")
        return self.taps[name]

    def encoder(self, classifier: Classifier) -> Classifier:
        """Return the network whose activations are projected and searched."""
        return classifier if self.network is None else self.network

    def column(self, tap: str) -> str:
        """Return what the pooled activations of a tap, before PCA, are called wherever those of others may lie, too."""
        activation = self.tap(tap).activation
        return activation if self.network is None else f"{activation}, {digest(self.store.fingerprint['network'])}"

    def project(self, tap: str, pooled: Tensor) -> Tensor:
        """Return the features ``(N, D)`` of pooled activations, in their dtype."""
        features: Tensor = self.projections[tap].to(pooled.device)(pooled)
        return features

    def length(self, tap: str) -> int:
        """Return how many numbers a pooled activation has."""
        return len(self.projections[tap].mean)

    def unproject(self, tap: str, features: Tensor) -> Tensor:
        """Return pooled activations ``(..., D)`` of features of any shape, in their dtype."""
        return self.projections[tap].to(features.device).inverse(features)

    def factor(self, tap: str) -> float:
        """Return what the features of a tap are multiplied by where they stand beside others'."""
        return 1 / self.projections[tap].scale

    def search(self, tap: str, features: Tensor, k: int) -> Neighbors:
        """Return the k nearest rows of ``(N, D)`` features, where these lie."""
        return self.indexes[tap].search(features, k, self.among)

    @property
    def reads_everything(self) -> bool:
        """Whether each search reads all of the store, so that many queries had better be asked together."""
        return any(index.exhaustive for index in self.indexes.values())

    def part(
        self, tap: str, part: Partition, features: Tensor, k: int, among: Sequence[Selection | None]
    ) -> list[Neighbors]:
        """Return what features ``(N, D)`` find in a part, for each selection of rows: see `OpenIndex.partials`."""
        return self.indexes[tap].share(part).partials(features, k, among)

    def finish(self) -> None:
        """Say that this process has nothing left to ask: see `OpenIndex.finish`."""
        for index in self.indexes.values():
            index.finish()

    def vectors(self, tap: str, ids: Tensor) -> Tensor:
        """Return the stored features ``(..., D)``, float32; of taps side by side, too, if they are not searched."""
        if tap in self.indexes:
            return self.indexes[tap].vectors(ids)
        return side_by_side(self, {part: self.indexes[part].vectors(ids) for part in parts_of(tap)})

    def predictions(self, ids: Tensor) -> NeighborPredictions:
        """Return what rows ``(N, K)`` predict."""
        schema = self.store.schema
        return NeighborPredictions.of_rows(self._raw("softmax", ids), schema.num_classes, packed=schema.packed)

    def votes(self, ids: Tensor) -> Tensor:
        """Return the classes that rows ``(...)`` predict, int64."""
        stored = self._raw("vote", ids)
        dtype = torch.uint16 if stored.shape[-1] == 2 else torch.uint32
        return stored.view(dtype)[..., 0].long()

    def labels(self, ids: Tensor) -> Tensor:
        """Return the true classes of rows ``(N, K)``, int64, −1 where unknown."""
        return self._raw("label", ids).view(torch.int64)[..., 0]

    def weights(self, name: str, ids: Tensor) -> Tensor:
        """Return a weight column of rows ``(N, K)``, float32."""
        return self._raw(f"weight/{name}", ids).view(torch.float32)[..., 0]

    def _raw(self, column: str, ids: Tensor) -> Tensor:
        """Return rows of a column as they are stored, ``(..., B)`` uint8."""
        held = self.held.rows(column, ids) if self.held else None
        return torch.from_numpy(self.store.raw(column, ids.cpu().numpy())).to(ids.device) if held is None else held

    def images(self, ids: Tensor) -> Tensor:
        """Read the images of rows ``(N, K)`` again: ``(N, K, 3, H, W)`` float32 in [0, 1]."""
        shards, rows = (part.ravel().tolist() for part in self.store.locate(ids.cpu().numpy()))
        images = self.data.images("database", shards, rows)
        if len(sizes := {tuple(image.shape) for image in images}) > 1:
            raise UserError(f"images of the database differ in size, {sorted(sizes)[:2]}: set data.preprocessing")
        pixels = unit(torch.stack(images).to(ids.device))
        return pixels.view(*ids.shape, *pixels.shape[1:])  # (N, K, 3, H, W)
