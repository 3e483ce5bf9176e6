"""The database of a defense in one folder: a sealed store, the projections of its features, and an index per tap.

folder/shards/000000.json      which shards of the images it has taken, in which order (see `arrivals`)
folder/projection/<tap>.h5     PCA, fitted by `lit-knn extract`
folder/store/                  sealed HDF5 shards and their manifest
folder/index/<tap>/            built by `lit-knn index`, if the index is in files
folder/resources/<name>/       what a defense needs besides, built by `lit-knn index`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, final

from lit_knn.backbones import Classifier, Projection, Tap
from lit_knn.data import Failure, ImageData
from lit_knn.database.arrivals import Arrivals
from lit_knn.database.index import Faiss, Index, Scan
from lit_knn.database.joined_taps import parts_of
from lit_knn.database.resource import Resource
from lit_knn.database.row_counts import row_count, row_counts
from lit_knn.database.store import STORED_WEIGHTS, JoinedStore, Schema, Store, sealed_header, shard_name
from lit_knn.database.stored_gallery import StoredGallery
from lit_knn.errors import DamageError, UserError
from lit_knn.storage.fingerprint import Fingerprint

PACKED_ABOVE = 64  # classes: below, a complete row is shorter than a packed one of 21 entries


@final  # and so YAML names its arguments without a class path
class Database:
    """Where a defense looks for neighbors.

    Args:
        path: Its folder.
        taps: The features kept of each image.
        index: How neighbors are found, the same for each tap; by default by an exact scan of the store, which needs no
            index. ``auto`` is a `Faiss` index that fits the number of rows and this machine. White-box attackers search
            at every step, and find what the defense finds, to the bit. So the rows of an exact index (by default,
            ``auto`` up to 20,000 rows, ``Flat``) are held for them if all taps fit: on a GPU, or in memory from 50,000
            rows on. An index that misses some neighbors is asked itself.
        softmax: ``dense`` keeps complete rows, ``packed`` the 21 largest classes; ``auto`` packs above 64 classes.
        projection_rows: About how many images PCA is fitted on, evenly spread over the database; all by default.
        key_width: Longest name of an image that the store keeps, in bytes.
        build_missing: Let ``lit-knn test`` extract and index what is missing, instead of stopping with the command.
            What is there but was made from something else stays as it is, and the test names the difference.
        rows: How many of its rows the defense searches, or which share of them if below 1: the first ones in a random
            order, so that a smaller database is a part of each larger one; null for all. With a list, the defenses
            answer from a database of each size in one run (Figure 5).
        order_seed: Seed of that order.
        network: Gives the features in the classifier's place, whose predictions of the rows are kept beside them; its
            layers are what ``taps`` name. It may end in anything, such as an encoder's features. Each query then takes
            a pass of both networks. By default the classifier.

    References:
        Dubey et al. 2019, Section 7, names as future work to "decrease the similarity between the feature-producing
        model and the classifier".
    """

    def __init__(
        self,
        *,
        path: str | Path,
        taps: list[Tap],
        index: Index | Literal["auto"] | None = None,
        softmax: Literal["auto", "dense", "packed"] = "auto",
        projection_rows: int | None = None,
        key_width: int = 64,
        build_missing: bool = False,
        rows: int | float | list[int | float | None] | None = None,  # noqa: PYI041 - 500 in YAML stays 500
        order_seed: int = 0,
        network: Classifier | None = None,
    ) -> None:
        names = [tap.name for tap in taps]
        if not names or len(set(names)) < len(names):
            raise UserError(f"model.database takes taps with different names, at least one, not {names}")
        self.path = Path(path)
        self.taps = {tap.name: tap for tap in taps}
        self.index = (Faiss(factory="auto") if index == "auto" else index or Scan()).ordered(order_seed)
        self.softmax = softmax
        limits = {"projection_rows": (projection_rows, 2), "key_width": (key_width, 1), "order_seed": (order_seed, 0)}
        for name, (value, least) in limits.items():
            if value is not None and value < least:
                raise UserError(f"model.database.{name} is {value}; {least} and more are accepted")
        self.projection_rows = projection_rows
        self.key_width, self.build_missing = key_width, build_missing
        self.rows = row_counts("model.database.rows", rows)
        self.order_seed, self.network = order_seed, network
        if network is not None:
            network.need_no_logits()

    def open(self, classifier: Classifier, data: ImageData, joined: Sequence[str] = ()) -> list[StoredGallery]:
        """Map the store and load projections and indexes, once they are known to belong together.

        Args:
            classifier: Whose features the rows have.
            data: Where the images are.
            joined: Taps side by side that are searched as well.

        Returns:
            The database in each of its sizes, ascending; one, unless ``rows`` is a list.

        Raises:
            UserError: If a part is missing (the sentence names the command that builds it), damaged, or was made from
                another model, tap, preprocessing or data set.
        """
        projections, fingerprint = self.fitted(classifier, data)
        store = Store(self.store_path, fingerprint=fingerprint)
        self._verify_softmax(store.schema)
        store = self.joined_store(store, projections, joined)
        late = self.recognize(data).late(len(store.prefixes))
        data.warn_of_losses([*late, *(Failure(row, key, reason) for _, row, key, reason in store.skipped())])
        indexes = {tap: self.index.open(store, tap, self.index_path(tap)) for tap in [*self.taps, *joined]}
        gallery = StoredGallery(
            store, self.taps, projections, indexes, data, order_seed=self.order_seed, network=self.network
        )
        return gallery.nested(self.sizes(len(store)))

    def joined_store(self, store: Store, projections: Mapping[str, Projection], joined: Sequence[str]) -> Store:
        """Return the store with taps side by side as well, each divided by its length.

        Raises:
            UserError: If the database has no such tap.
        """
        names = {tap: parts_of(tap) for tap in joined}
        if lost := {part for some in names.values() for part in some} - {*self.taps}:
            raise UserError(f"the database has no tap {min(lost)!r}; it has {', '.join(self.taps)}")
        factors = {tap: {part: 1 / projections[part].scale for part in some} for tap, some in names.items()}
        return JoinedStore(store, factors) if factors else store

    def sizes(self, stored: int) -> list[int]:
        """Return how many rows of the ``stored`` ones are searched: numbers that differ, ascending."""
        return sorted({row_count(size, stored) for size in self.rows})

    # ---------------------------------------------------------------- building

    def recognize(self, data: ImageData) -> Arrivals:
        """Let data give the shards that have been taken, under their numbers here; return which those are.

        Raises:
            UserError: If one of them is gone, or is another one now.
        """
        arrivals = Arrivals.read(self.path / "shards", data.database or data.database_source)
        data.take(arrivals.taken)
        return arrivals

    @property
    def store_path(self) -> Path:
        """Folder of the sealed shards."""
        return self.path / "store"

    def projection_path(self, tap: str) -> Path:
        """File of a tap's projection."""
        return self.path / "projection" / f"{tap}.h5"

    def index_path(self, tap: str) -> Path:
        """Folder of a tap's index."""
        return self.path / "index" / tap

    def resource_path(self, name: str) -> Path:
        """Folder of a resource."""
        return self.path / "resources" / name

    def shard_path(self, shard: int) -> Path:
        """File of the rows of one source shard."""
        return self.store_path / shard_name(shard)

    def packs(self, num_classes: int) -> bool:
        """Return whether softmax rows of so many classes are shortened."""
        return self.softmax == "packed" or (self.softmax == "auto" and num_classes > PACKED_ABOVE)

    def schema(self, num_classes: int, dimensions: Mapping[str, int]) -> Schema:
        """Return the columns of the store of a network of so many classes, and with features of these lengths."""
        return Schema(
            num_classes=num_classes,
            dimensions=dict(dimensions),
            weights=STORED_WEIGHTS,
            packed=self.packs(num_classes),
            key_width=self.key_width,
            bits=tuple(name for name, tap in self.taps.items() if tap.bits),
        )

    def origins(self, classifier: Classifier, data: ImageData) -> dict[str, Fingerprint]:
        """Return, for each tap, what its projection and rows depend on: of the data set, what was there at first."""
        self.recognize(data)
        shared = {
            "classifier": classifier.fingerprint(),
            "dataset": data.database_source.identity(),
            "preprocessing": data.preprocessing.identity() if data.preprocessing else "none",
        }
        if self.network is not None:
            shared["network"] = self.network.fingerprint()
        shared["projection rows"] = "all" if self.projection_rows is None else f"about {self.projection_rows}"
        return {name: shared | {f"tap {name}": tap.identity()} for name, tap in self.taps.items()}

    def fitted(self, classifier: Classifier, data: ImageData) -> tuple[dict[str, Projection], Fingerprint]:
        """Load the projections, and return with them everything that the rows of the store depend on.

        Raises:
            UserError: If a projection is missing, damaged or of another origin.
        """
        projections: dict[str, Projection] = {}
        parts: Fingerprint = {}
        for tap, origin in self.origins(classifier, data).items():
            projections[tap] = Projection.load(self.projection_path(tap), origin)
            parts |= origin | {f"projection {tap}": projections[tap].fingerprint()}
        return projections, parts

    def unfitted(self) -> list[str]:
        """Return the taps that have no projection yet, or a damaged one."""
        missing = []
        for tap in self.taps:
            try:
                Projection.read(self.projection_path(tap))
            except DamageError:
                missing.append(tap)
        return missing

    def unsealed(self, shards: Iterable[int], fingerprint: Fingerprint) -> list[int]:
        """Return the source shards whose rows are not in the store yet, or damaged.

        Raises:
            UserError: If one was made from something else, or has other columns.
        """
        pending = []
        for shard in shards:
            if (header := sealed_header(self.shard_path(shard), fingerprint)) is None:
                pending.append(shard)
            else:
                self._verify_softmax(header.schema)
        return pending

    def _verify_softmax(self, stored: Schema) -> None:
        if stored.packed != self.packs(stored.num_classes):
            kept = "packed" if stored.packed else "dense"
            raise UserError(
                f"store {self.store_path} keeps softmax rows {kept}, which model.database.softmax: {self.softmax} does "
                f"not: set it to {kept}, or another model.database.path"
            )

    def is_complete(self, resources: Iterable[Resource] = (), joined: Iterable[str] = ()) -> bool:
        """Return whether projections, store, indexes (of joined taps, too) and resources are there, from whatever."""
        return (
            not self.unfitted()
            and (self.store_path / "manifest.json").exists()
            and all(self.index.is_built(self.index_path(tap)) for tap in [*self.taps, *joined])
            and all(resource.is_sealed(self.resource_path(resource.name)) for resource in resources)
        )
