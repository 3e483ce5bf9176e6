"""What both passes over the database's images have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import final

import pytorch_lightning as pl
from torch import Tensor

from lit_knn.backbones import Classifier, outside_networks, set_precision
from lit_knn.data import Batch, BatchLoader, ImageData
from lit_knn.database import Database
from lit_knn.errors import UserError


class DatabasePass(pl.LightningModule, ABC):
    """One pass over images of the database; `take` says what becomes of a batch.

    Args:
        classifier: Gives logits, and tapped activations unless a network of the database does.
        database: Says which, and where results go.
        data: Gives the images, in batches that never cross a shard: no number of processes changes one.
    """

    def __init__(self, classifier: Classifier, database: Database, data: ImageData) -> None:
        super().__init__()
        self.classifier, self.database, self.data = classifier, database, data
        self.encoder = classifier if database.network is None else database.network
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer batches than processes

    @property
    def shards(self) -> range:
        """All shards of the database."""
        return range(len(self.data.database_source.shard_names()))

    @abstractmethod
    def batches(self) -> BatchLoader:
        """Return this process's share; may look at the trainer and use the device."""

    def predict_dataloader(self) -> Iterable[Batch]:
        """Return the same."""
        return self.batches()

    def setup(self, stage: str) -> None:
        """Let the network compute in the Trainer's precision."""
        set_precision(self, self.trainer.precision)

    @final
    def predict_step(self, batch: Batch, batch_idx: int) -> int:
        """Take a batch and return how many of its images could be read."""
        with outside_networks(self.device):
            self.take(batch)
        return len(batch["id"])

    @abstractmethod
    def take(self, batch: Batch) -> None:
        """Say what becomes of a batch."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn bytes into pixels on the device."""
        return self.data.on_after_batch_transfer(batch, dataloader_idx)

    def tapped(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return logits ``(N, C)`` and the pooled activations ``(N, D)`` of each tap."""
        if self.encoder is self.classifier:
            return self.classifier.tapped(batch["image"], list(self.database.taps.values()))
        return self.classifier(batch["image"]), self.activations(batch)

    def activations(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return the same activations alone, by one pass up to the last tap."""
        return self.encoder.activations(batch["image"], list(self.database.taps.values()))

    def examine_network(self) -> None:
        """Hold what is stored to the network itself, on the first batch of the database: the same in all processes.

        Raises:
            UserError: If it does not give logits, or its layers cannot be tapped.
        """
        taps, image = list(self.database.taps.values()), self.first_batch()["image"]
        self.encoder.examine(image, taps, self.data.preprocessing)
        if self.encoder is not self.classifier:
            self.classifier.examine(image, preprocessing=self.data.preprocessing)

    def first_batch(self) -> Batch:
        """Return the first batch of the database with an image in it, on the device.

        Raises:
            UserError: If there is none.
        """
        for batch in self.first_batches():
            return batch
        raise UserError("no image of the database can be read")

    def first_batches(self) -> Iterator[Batch]:
        """Yield the batches of the database with an image in them, on the device: the same in all processes."""
        for shard in self.shards:  # one by one: a loader over all would list them all
            for batch in self.data.database_batches([shard]):
                if len(batch["id"]):
                    yield self.on_after_batch_transfer(self.transfer_batch_to_device(batch, self.device, 0), 0)
