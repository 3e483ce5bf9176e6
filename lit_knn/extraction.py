"""From database shards to a sealed store: two passes, fitting the projections and writing the rows.

Both read whole batches that never cross a shard, so that what is written depends neither on the number of processes
nor on which of them read a shard.
"""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lit_knn.backbones import Classifier, Moments, Projection
from lit_knn.data import Batch, ImageData
from lit_knn.database import Database
from lit_knn.defenses import stored_weights
from lit_knn.store import Fingerprint, ShardWriter


class _DatabasePass(pl.LightningModule):
    """One pass over the database.

    Args:
        classifier: Gives logits and tapped activations.
        database: Says which.
        data: Gives the images.
    """

    def __init__(self, classifier: Classifier, database: Database, data: ImageData) -> None:
        super().__init__()
        self.classifier, self.database, self.data = classifier, database, data

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn bytes into pixels on the device."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


class Fitting(_DatabasePass):
    """First pass: the moments of every tap.

    Args:
        classifier: Gives tapped activations.
        database: Says which, and on how many rows.
        data: Gives the images.
    """

    def __init__(self, classifier: Classifier, database: Database, data: ImageData) -> None:
        super().__init__(classifier, database, data)
        self.moments: dict[str, Moments] = {}

    def predict_dataloader(self) -> DataLoader[Any]:
        """Every stride-th row of every shard, whole batches by rank."""
        return self.data.database_batches(
            range(len(self.data.database.shard_names())),
            stride=self.data.stride(self.database.projection_rows),
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def on_predict_start(self) -> None:
        """Calibrate on the first batch of the database: the same in all processes, without a word between them."""
        batch = next(iter(self.data.database_batches([0])))
        batch = self.on_after_batch_transfer(self.trainer.strategy.batch_to_device(batch), 0)
        for name, pooled in self._pooled(batch).items():
            self.moments[name] = Moments(pooled, device=self.device)

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch."""
        for name, pooled in self._pooled(batch).items():
            self.moments[name].update(pooled)

    def _pooled(self, batch: Batch) -> dict[str, Tensor]:
        pooled: dict[str, Tensor] = self.classifier.tapped(batch["image"], list(self.database.taps.values()))[1]
        return pooled

    def projections(self) -> dict[str, Projection]:
        """Sum the moments of all processes and decompose them; to be called by all."""
        for moments in self.moments.values():
            if torch.distributed.is_initialized():
                for part in (moments.rows, moments.total, moments.outer):
                    torch.distributed.all_reduce(part)
        return {
            name: Projection.fit(moments, self.database.taps[name].dimension) for name, moments in self.moments.items()
        }


class Extraction(_DatabasePass):
    """Second pass: a sealed store shard for each source shard.

    Args:
        classifier: Gives logits and tapped activations.
        database: Says which, and where to write.
        data: Gives the images.
        shards: Source shards still to be done, by any process.
        fingerprint: Written into every shard.
    """

    def __init__(
        self,
        classifier: Classifier,
        database: Database,
        data: ImageData,
        shards: list[int],
        fingerprint: Fingerprint,
    ) -> None:
        super().__init__(classifier, database, data)
        self.shards, self.fingerprint = shards, fingerprint
        self._writer: ShardWriter | None = None
        self._shard = -1

    def predict_dataloader(self) -> DataLoader[Any]:
        """Whole shards by rank."""
        return self.data.database_batches(self.shards[self.trainer.global_rank :: self.trainer.world_size])

    def predict_step(self, batch: Batch, batch_idx: int) -> None:
        """Write a batch: features, softmax and weights of each image; failures by name."""
        if batch["shard"] != self._shard:
            self.seal()
            self._shard = batch["shard"]
        if len(batch["id"]):
            logits, features = self.database.features(self.classifier, batch["image"])
            softmax = logits.float().softmax(dim=-1)
            self._shard_writer(softmax, features).append(
                features={name: rows.cpu().numpy() for name, rows in features.items()},
                softmax=softmax.cpu().numpy(),
                weights={name: weight.cpu().numpy() for name, weight in stored_weights(softmax).items()},
                id=batch["id"].cpu().numpy(),
                label=batch["label"].cpu().numpy(),
                key=batch["key"],
            )
        self._failed += batch["failed"]

    def on_predict_end(self) -> None:
        """Seal the last shard."""
        self.seal()
