"""CIFAR-10 as torchvision lays it out."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torchvision

from lit_knn.data.base import ArrayShard, ImageSource
from lit_knn.errors import UserError

_SHARD_SIZE = 10_000


class CIFAR10(ImageSource):
    """Read CIFAR-10, 60,000 images of 32×32 pixels, as torchvision lays it out.

    The training images are five shards, the test images one.

    Args:
        root: Folder that holds ``cifar-10-batches-py``; torchvision checks the files before it unpickles them.
        split: ``train`` or ``test``.

    References:
        Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    def __init__(self, root: str | Path, *, split: Literal["train", "test"]) -> None:
        if split not in ("train", "test"):
            raise UserError(f"CIFAR10 has no split {split!r}: accepted are train and test")
        self.root, self.split = Path(root), split

    @property
    def class_names(self) -> list[str]:
        """The ten classes, read from the files."""
        return list(self._dataset.classes)

    def shard_names(self) -> list[str]:
        """Return the names of torchvision's batch files, more or less."""
        return [f"cifar10-{self.split}-{index}" for index in range(5 if self.split == "train" else 1)]

    def open_shard(self, index: int) -> ArrayShard:
        """Return 10,000 images.

        Raises:
            UserError: If the files are missing or changed.
        """
        name, dataset = self.shard_names()[index], self._dataset
        first = index * _SHARD_SIZE
        images = dataset.data[first : first + _SHARD_SIZE]
        labels = np.asarray(dataset.targets[first : first + _SHARD_SIZE], dtype=np.int64)
        keys = [f"{self.split}/{row:05d}" for row in range(first, first + len(images))]
        return ArrayShard(name, keys, images, labels)

    def identity(self) -> str:
        """Return the name of the split: torchvision holds the files to their checksums."""
        return f"cifar10-{self.split}"

    @cached_property
    def _dataset(self) -> torchvision.datasets.CIFAR10:
        try:
            return torchvision.datasets.CIFAR10(self.root, train=self.split == "train", download=False)
        except RuntimeError as error:
            raise UserError(
                f"{self.root} holds no complete cifar-10-batches-py folder: unpack cifar-10-python.tar.gz there"
            ) from error
