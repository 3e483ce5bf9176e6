"""From the database's images to a sealed store, in two passes: fit the projections, then write the rows.

Both read whole batches that never cross a shard, so that what is written depends neither on the number of processes
nor on which of them reads a shard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from lit_knn.backbones import Classifier, Moments, Projection
from lit_knn.data import Batch, BatchLoader, ImageData
from lit_knn.database import Database
from lit_knn.defenses import stored_weights
from lit_knn.errors import UserError
from lit_knn.fingerprint import Fingerprint
from lit_knn.store import Schema, ShardWriter


class _DatabasePass(pl.LightningModule):
    """One pass over images of the database; a `predict_step` says what becomes of a batch."""

    def __init__(self, classifier: Classifier, database: Database, data: ImageData) -> None:
        super().__init__()
        self.classifier, self.database, self.data = classifier, database, data
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer shards than processes

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn bytes into pixels on the device."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


class Fitting(_DatabasePass):
    """First pass: the moments of every tap, and from them the projections.

    Args:
        classifier: Gives tapped activations.
        database: Says which, and on how many rows.
        data: Gives the images.
    """

    def __init__(self, classifier: Classifier, database: Database, data: ImageData) -> None:
        super().__init__(classifier, database, data)
        self._moments: dict[str, Moments] = {}

    def predict_dataloader(self) -> BatchLoader:
        """Return this process's share of the sample: every stride-th row of each shard, whole batches by rank.

        Raises:
            UserError: If a process would have none.
        """
        trainer, wanted = self.trainer, self.database.projection_rows
        shards = range(len(self.data.database_source.shard_names()))
        stride = max(1, self.data.num_database_rows // wanted) if wanted else 1
        batches = self.data.database_batches(
            shards, stride=stride, rank=trainer.global_rank, world_size=trainer.world_size
        )
        if batches.total < trainer.world_size:  # every process must say so
            raise UserError(
                f"the database makes fewer batches of {self.data.batch_size} than there are processes: use fewer than "
                f"{trainer.world_size} processes or a smaller data.batch_size"
            )
        return batches

    def on_predict_start(self) -> None:
        """Calibrate on the first images of the database: the same in all processes, without a word between them."""
        for batch in self.data.database_batches([0]):
            if len(batch["id"]):
                moved = self.on_after_batch_transfer(self.transfer_batch_to_device(batch, self.device, 0), 0)
                self._moments = {name: Moments(rows, self.device) for name, rows in self._pooled(moved).items()}
                return
        raise UserError("no image of the database's first shard can be read, so that PCA has nothing to start from")

    def predict_step(self, batch: Batch, batch_idx: int) -> int:
        """Add the activations of a batch."""
        if len(batch["id"]):
            for name, rows in self._pooled(batch).items():
                self._moments[name].update(rows)
        return len(batch["id"])

    def _pooled(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.classifier.tapped(batch["image"], list(self.database.taps.values()))[1]

    def merge(self) -> None:
        """Sum the moments of all processes; every process must take part."""
        if torch.distributed.is_initialized():
            for moments in self._moments.values():
                for part in (moments.rows, moments.total, moments.outer):
                    torch.distributed.all_reduce(part)

    def projections(self) -> dict[str, Projection]:
        """Decompose the moments: one process does it for all."""
        taps = self.database.taps
        return {
            name: Projection.fit(moments, taps[name].dimension, bits=taps[name].bits)
            for name, moments in self._moments.items()
        }


class Extraction(_DatabasePass):
    """Second pass: one sealed store shard for each shard of the database.

    Args:
        classifier: Gives logits and tapped activations.
        database: Says which, and where to write.
        data: Gives the images.
        projections: Of each tap.
        shards: What is still to be done, by all processes together.
        fingerprint: Written into every shard.
    """

    def __init__(
        self,
        classifier: Classifier,
        database: Database,
        data: ImageData,
        projections: Mapping[str, Projection],
        shards: Sequence[int],
        fingerprint: Fingerprint,
    ) -> None:
        super().__init__(classifier, database, data)
        self._projections = projections
        self._shards, self._fingerprint = shards, fingerprint
        self._shard = -1
        self._schema: Schema | None = None
        self._writer: ShardWriter | None = None
        self._failed: list[tuple[int, str, str]] = []

    def predict_dataloader(self) -> BatchLoader:
        """Return whole shards, dealt out by rank."""
        return self.data.database_batches(self._shards[self.trainer.global_rank :: self.trainer.world_size])

    def predict_step(self, batch: Batch, batch_idx: int) -> int:
        """Write features, softmax and weights of each image, and the names of those that could not be read."""
        self._shard = batch["shard"]
        self._failed += batch["failed"]
        if len(batch["id"]):
            logits, pooled = self.classifier.tapped(batch["image"], list(self.database.taps.values()))
            features = {name: self._projections[name].to(rows.device)(rows) for name, rows in pooled.items()}
            softmax = logits.float().softmax(dim=-1)
            weights = stored_weights(softmax)
            self._open(softmax, features, weights).append(
                features={name: rows.float().cpu().numpy() for name, rows in features.items()},
                softmax=softmax.cpu().numpy(),
                weights={name: weight.cpu().numpy() for name, weight in weights.items()},
                id=batch["id"].cpu().numpy(),
                label=batch["label"].cpu().numpy(),
                key=batch["key"],
            )
        written = self._writer.rows if self._writer is not None else 0
        if written + len(self._failed) == self.data.num_rows(self._shard):
            self.seal()
        return len(batch["id"])

    def _open(self, softmax: Tensor, features: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> ShardWriter:
        """Return the writer of the shard in hand; the first rows tell its columns."""
        if self._writer is None:
            self._schema = Schema(
                num_classes=softmax.shape[1],
                dimensions={name: rows.shape[1] for name, rows in features.items()},
                weights=tuple(weights),
                packed=self.database.packs(softmax.shape[1]),
                key_width=self.database.key_width,
                bits=tuple(name for name, tap in self.database.taps.items() if tap.bits),
            )
            self._writer = self._new_writer(self._schema)
        return self._writer

    def _new_writer(self, schema: Schema) -> ShardWriter:
        return ShardWriter(
            self.database.shard_path(self._shard),
            capacity=self.data.num_rows(self._shard),
            schema=schema,
            fingerprint=self._fingerprint,
        )

    def seal(self) -> None:
        """Finish the shard in hand; one without a readable image has no rows, and the columns of the one before.

        Raises:
            UserError: If no image has been read at all.
        """
        if self._writer is None:
            if self._schema is None:
                _, key, reason = self._failed[0]
                raise UserError(f"no image of database shard {self._shard} can be read; the first is {key}: {reason}")
            self._writer = self._new_writer(self._schema)
        for failure in self._failed:
            self._writer.skip(failure)
        self._writer.seal()
        self._writer, self._failed = None, []

    def close(self) -> None:
        """Remove what was not sealed."""
        if self._writer is not None:
            self._writer.discard()
