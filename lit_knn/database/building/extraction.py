"""The second pass over the database's images: project, and write the rows into a sealed store.

Its batches never cross a shard, so that what is written depends neither on the number of parts and processes nor on
which of them reads a shard. A shard is sealed as a whole by whoever finishes it; the bytes are the same if two do.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from lit_knn.backbones import Classifier, Projection
from lit_knn.data import Batch, BatchLoader, Failure, ImageData
from lit_knn.data.queries import examples
from lit_knn.database import Database
from lit_knn.database.building.base import DatabasePass
from lit_knn.database.building.fitting import remove_moments
from lit_knn.database.building.taking import listed_shards
from lit_knn.database.store import Schema, ShardWriter, sealed_header, stored_weights, write_manifest
from lit_knn.distributed.partition import Partition
from lit_knn.errors import counted
from lit_knn.storage.atomic import unfinished_files, writing
from lit_knn.storage.fingerprint import Fingerprint

log = logging.getLogger(__name__)
NO_LABELS = "answers need none, but a class without images here has no neighbors that a query of it could find"


class Extraction(DatabasePass):
    """One sealed store shard for each shard of the database.

    Args:
        classifier: Gives logits and tapped activations.
        database: Says which, and where to write.
        data: Gives the images.
        projections: Of each tap.
        shards: Those of this part, of all processes together.
        pending: Which of them are still to be done.
        fingerprint: Written into every shard.
    """

    def __init__(
        self,
        classifier: Classifier,
        database: Database,
        data: ImageData,
        projections: Mapping[str, Projection],
        shards: Sequence[int],
        pending: Collection[int],
        fingerprint: Fingerprint,
    ) -> None:
        super().__init__(classifier, database, data)
        self._projections = projections
        self._part, self._pending, self._fingerprint = shards, set(pending), fingerprint
        self._mine: Sequence[int] = []
        self._sealed = 0
        self._shard = -1
        self._schema: Schema | None = None
        self._writer: ShardWriter | None = None
        self._failed: list[Failure] = []
        self._told = False

    @classmethod
    def of_part(cls, classifier: Classifier, database: Database, data: ImageData, part: Partition) -> Extraction:
        """Return the extraction of what a part is still to do, once PCA has been fitted.

        The part is one of the shards that the store lists, which may have been damaged since, and one of all others.

        Raises:
            UserError: If a projection is missing, or what is there was made from something else.
        """
        projections, fingerprint = database.fitted(classifier, data)
        shards, listed = range(len(data.database_source.shard_names())), listed_shards(database)
        mine = [*part.of(shards[:listed]), *part.of(shards[listed:])]
        pending = database.unsealed(mine, fingerprint)
        return cls(classifier, database, data, projections, mine, pending, fingerprint)

    @property
    def found(self) -> str:
        """How many shards of the part are done already."""
        return f"{len(self._part) - len(self._pending)} of {len(self._part)} shards are sealed"

    @property
    def holds_unsealed_rows(self) -> bool:
        """Whether stopping now loses the beginning of a shard."""
        return self._writer is not None or bool(self._failed)

    @property
    def status(self) -> str:
        """How far this process is."""
        return f"{self._sealed} of {len(self._mine)} shards"

    def batches(self) -> BatchLoader:
        """Return whole shards, dealt out by rank; those without any image are sealed at once."""
        # Dealt before those that are done are left out: what a process finds done may change before another one looks.
        mine = self._part[self.trainer.global_rank :: self.trainer.world_size]
        self._mine = [shard for shard in mine if shard in self._pending]
        if self._mine:
            self.examine_network()
            self.data.warn_of_losses()
        for shard in self._mine:
            if not self.data.num_rows(shard):
                self._shard = shard
                self.seal()
        return self.data.database_batches(self._mine)

    def take(self, batch: Batch) -> None:
        """Write features, softmax and weights of each image, and the names of those that could not be read."""
        self._shard = batch["shard"]
        self._failed += batch["failed"]
        if len(batch["id"]):
            self._append(batch)
        written = self._writer.rows if self._writer is not None else 0
        if written + len(self._failed) == self.data.num_rows(self._shard):
            self.seal()

    def _append(self, batch: Batch) -> None:
        softmax, pooled = self._predict(batch)
        features = {name: self._projections[name].to(rows.device)(rows) for name, rows in pooled.items()}
        weights = stored_weights(softmax)
        writer = self._open(softmax)
        with writing(writer.path):
            writer.append(
                features={name: rows.float().cpu().numpy() for name, rows in features.items()},
                softmax=softmax.cpu().numpy(),
                weights={name: weight.cpu().numpy() for name, weight in weights.items()},
                ids=batch["id"].cpu().numpy(),
                label=self._known(batch["label"], softmax.shape[1]).cpu().numpy(),
                key=batch["key"],
            )

    def _known(self, label: Tensor, num_classes: int) -> Tensor:
        """Return labels ``(N,)`` that are classes of the network, −1 where they are not: answers do without."""
        if problem := self.data.database_source.label_problem(num_classes):
            if not self._told:
                log.warning("the store keeps no labels of the database: %s; %s", problem, NO_LABELS)
            self._told = True
            return torch.full_like(label, -1)
        return label.where(label < num_classes, -1)

    def _predict(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        logits, pooled = self.tapped(batch)
        return logits.float().softmax(dim=-1), pooled

    def _open(self, softmax: Tensor | None = None) -> ShardWriter:
        """Return the writer of the shard in hand; any softmax rows tell how many classes there are."""
        if self._writer is None:
            if self._schema is None:
                self._schema = self._columns(self._predict(self.first_batch())[0] if softmax is None else softmax)
            path = self.database.shard_path(self._shard)
            with writing(path):
                self._writer = ShardWriter(
                    path,
                    capacity=self.data.num_rows(self._shard),
                    schema=self._schema,
                    fingerprint=self._fingerprint,
                )
        return self._writer

    def _columns(self, softmax: Tensor) -> Schema:
        dimensions = {name: len(projection.components) for name, projection in self._projections.items()}
        return self.database.schema(softmax.shape[1], dimensions)

    def seal(self) -> None:
        """Finish the shard in hand; one without a readable image has no rows."""
        writer = self._open()
        left_out = [*self._failed, *self.data.unread(self._shard)]
        if left_out:
            log.warning("%s leaves out %d images: %s", writer.path.name, len(left_out), examples(left_out))
        for failure in left_out:
            writer.skip(failure)
        with writing(writer.path):
            try:
                writer.seal()
            except FileNotFoundError:  # another task has sealed the same shard and tidied up
                if sealed_header(writer.path, self._fingerprint) is None:
                    raise
        self._writer, self._failed = None, []
        self._sealed += 1

    def close(self) -> None:
        """Remove what was not sealed."""
        if self._writer is not None:
            self._writer.discard()
            self._writer = None


def finish_store(database: Database, data: ImageData) -> None:
    """Write the manifest and tidy up, if all shards are sealed; any number of processes may be at it at once."""
    shards = range(len(data.database_source.shard_names()))
    there = {path.name for path in database.store_path.iterdir()} if database.store_path.exists() else set()
    missing = [shard for shard in shards if database.shard_path(shard).name not in there]
    if missing:
        log.info("%d of %d shards of %s are missing", len(missing), len(shards), database.store_path)
        return
    write_manifest(database.store_path, shards)
    for path in unfinished_files(database.store_path):
        if path.name.startswith(".shard-"):  # every shard is sealed: whoever writes one again has nothing to lose
            path.unlink(missing_ok=True)
    remove_moments(database)
    if new := database.recognize(data).new:
        log.info("%s come meanwhile: run `lit-knn extract` again", counted(len(new), "shard has", "shards have"))
