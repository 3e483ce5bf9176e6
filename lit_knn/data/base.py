"""The contracts of the data: a source has shards, a shard has samples, a batch is what everything else sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.data.classes import Classes
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import digest

Pixels = NDArray[np.uint8] | NDArray[np.floating]


class Failure(NamedTuple):
    """An image that is not read: it travels inside a batch, so that no worker dies of it.

    A row of −1 is what looks like an image and has no row in its shard, such as a format that is not read.
    """

    row: int
    key: str
    reason: str


class Batch(TypedDict):
    """N images of one shard.

    ``image`` is ``(N, 3, H, W)``: uint8 as it leaves the loader, or float32 where the source has floats; float32 in [0,
    1] on the device (that is, after `ImageData.on_after_batch_transfer`). ``label`` and ``id`` are ``(N,)`` int64; a
    label of −1 is unknown. The id of a query is its position in the whole source, that of a database image is its row
    in its shard: neither depends on the number of processes. Images in ``failed`` are missing from all other entries,
    so N may be 0.
    """

    image: Tensor
    label: Tensor
    id: Tensor
    shard: int
    key: list[str]
    failed: list[Failure]


@dataclass(frozen=True)
class Sample:
    """One image as it is stored: encoded bytes, or pixels ``(H, W, 3)``, uint8 or float in [0, 1].

    A label of −1 is unknown.
    """

    key: str
    label: int
    image: bytes | Pixels


class Shard(ABC):
    """A listed piece of a source; reading is lazy and random access. It can be pickled and survives a fork."""

    name: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def keys(self) -> Sequence[str]:
        """Return the key of each row."""

    def unread(self) -> Sequence[Failure]:
        """Return what looks like an image of this shard and has no row."""
        return ()

    @abstractmethod
    def read(self, row: int) -> Sample:
        """Read one sample.

        Raises:
            ImageError: If this one sample cannot be read.
        """


class ArrayShard(Shard):
    """A shard in memory.

    Args:
        name: What messages call it.
        keys: One per row.
        images: ``(M, H, W, 3)``, uint8 or float in [0, 1].
        labels: ``(M,)`` integers.

    Raises:
        UserError: If they are not of one length, or labels no integers.
    """

    def __init__(self, name: str, keys: Sequence[str], images: Pixels, labels: NDArray[np.int64]) -> None:
        if not len(keys) == len(images) == len(labels):
            raise UserError(f"shard {name} has {len(keys)} keys, {len(images)} images and {len(labels)} labels")
        if len(labels) and np.asarray(labels).dtype.kind not in "iu":
            raise UserError(f"labels of shard {name} are {np.asarray(labels).dtype}: accepted are integers")
        self.name, self._keys, self._images, self._labels = name, keys, images, labels

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> Sequence[str]:
        """Return the key of each row."""
        return self._keys

    def read(self, row: int) -> Sample:
        """Read one sample."""
        return Sample(self._keys[row], int(self._labels[row]), self._images[row])


class ShardedImages(ABC):
    """Images in shards, whoever gives them.

    Attributes:
        labels_from: What gives images labels, for whoever misses them.
    """

    labels_from = "use images that have one"

    @property
    def found_classes(self) -> Classes | None:
        """What the labels mean, where it is not fixed."""
        return None

    @property
    def class_names(self) -> list[str] | None:
        """Names in the order of the labels, which are those of the network's classes; None if unknown."""
        return None if self.found_classes is None else self.found_classes.listing

    def label_problem(self, num_classes: int) -> str:
        """Return why the labels cannot be classes of a network of so many, as one sentence; "" if they can."""
        if self.found_classes is not None:
            return self.found_classes.problem(num_classes)
        if self.class_names is None or len(self.class_names) == num_classes:
            return ""
        return (
            f"{type(self).__name__} has {len(self.class_names):,} classes, but the network has {num_classes:,}: labels "
            "have to be numbers of its classes"
        )

    def unread(self) -> Sequence[Failure]:
        """Return what looks like images, or shards of them, beside those that are read; a shard tells its own."""
        return ()

    @abstractmethod
    def shard_names(self) -> list[str]:
        """Return the names of all shards in order, without listing what is in them."""

    @abstractmethod
    def open_shard(self, index: int) -> Shard:
        """List one shard.

        Raises:
            UserError: If the shard is missing or damaged.
        """

    @abstractmethod
    def identity(self) -> str:
        """Return what the data is and how it is cut into shards, wherever it lies: fingerprints compare it."""

    def shard_identities(self) -> list[str] | None:
        """Return what each shard is, wherever it lies, if it stays so when others come; None where that is not known.

        A database takes shards that come later by this alone, whatever their number has become.
        """
        return None

    def remark(self) -> str:
        """Return what people may want to know of how the images were gathered, a clause; "" if there is nothing."""
        return ""


class ImageSource(ShardedImages):
    """Where images come from, as a configuration names it. Constructors touch no file, so that one can be printed."""

    def shared(self, other: ImageSource) -> str:
        """Return what is known, without reading images, that two sources have in common; "" if nothing.

        A source that knows more than whether both are the same overrides it; it need not be symmetric.
        """
        return f"both are {self.identity()}" if self.identity() == other.identity() else ""


def identity_of(kind: type[ShardedImages], shards: Sequence[str]) -> str:
    """Return the identity of a source that has nothing but these shards, in this order."""
    return f"{kind.__name__}-{digest(list(shards))}"
