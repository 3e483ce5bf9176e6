"""Images in one array, of a file or in memory: benchmarks that come as arrays, saved adversarial images."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.data.base import ArrayShard, ImageSource
from lit_knn.data.classes import Classes, Given, given
from lit_knn.data.sources.array_files import read_array
from lit_knn.errors import UserError

HASHED = 1 << 28  # bytes of an array that its identity reads: half a second


class Arrays(ImageSource):
    """Read M images from one array, ``(M, H, W, 3)`` or ``(M, 3, H, W)``, uint8 or float in [0, 1].

    Floats are not rounded.

    CIFAR-10-C at severity 5 is ``{images: fog.npy, labels: labels.npy, rows: [40000, 50000]}``. Files are .npy, .npz,
    .pt and .safetensors; only .npz is read as a whole, and nothing is unpickled.

    Args:
        images: A file; for arrays and tensors in Python see `of`.
        labels: A file of ``(M,)`` integers from 0, −1 where unknown; null takes ``labels_key`` of the file of images.
        images_key: Name of the images in a file of several arrays, a position where they are a list or tuple.
        labels_key: Name of the labels.
        rows: Range of rows ``[first, end]``, without the end, as in Python; null takes all.
        layout: Order of the dimensions, ``NHWC`` or ``NCHW``; null takes the one dimension of length 3 for the
            channels.
        classes: Names of the classes, all of the network's, as of `ImageFolder`; the labels are their numbers.
        shard_size: Images per shard; the unit of resuming an extraction.

    References:
        Hendrycks & Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, 2019,
        https://arxiv.org/abs/1903.12261 (CIFAR-10-C)
    """

    labels_from = "give `labels:` a file of as many whole numbers, or `labels_key:` their name"

    def __init__(
        self,
        images: str | Path,
        *,
        labels: str | Path | None = None,
        images_key: str | None = None,
        labels_key: str | None = None,
        rows: tuple[int, int] | None = None,
        layout: Literal["NHWC", "NCHW"] | None = None,
        classes: Given | None = None,
        shard_size: int = 10_000,
    ) -> None:
        if shard_size < 1:
            raise UserError(f"shard_size is {shard_size}: accepted are 1 and more")
        if layout not in (None, "NHWC", "NCHW"):
            raise UserError(f"layout is {layout!r}: accepted are NHWC, NCHW and null")
        self.images, self.labels = Path(images).expanduser(), None if labels is None else Path(labels).expanduser()
        self.images_key, self.labels_key, self.classes = images_key, labels_key, classes
        self.rows, self.layout, self.shard_size = rows, layout, shard_size
        self._in_file = True

    @classmethod
    def of(
        cls,
        images: NDArray[Any] | Tensor,
        labels: NDArray[Any] | Tensor | None = None,
        *,
        rows: tuple[int, int] | None = None,
        layout: Literal["NHWC", "NCHW"] | None = None,
        classes: Given | None = None,
        shard_size: int = 10_000,
        name: str = "images",
    ) -> Arrays:
        """Return a source of what is in memory; it is not copied.

        Args:
            images: ``(M, H, W, 3)`` or ``(M, 3, H, W)``, uint8 or float in [0, 1].
            labels: ``(M,)`` integers; None where they are not known.
            rows: As above.
            layout: As above.
            classes: As above.
            shard_size: As above.
            name: What messages call it.
        """
        source = cls(images=name, rows=rows, layout=layout, classes=classes, shard_size=shard_size)
        source._in_file = False
        source._stored = _array(images)
        source._labels = None if labels is None else _array(labels)
        return source

    @cached_property
    def found_classes(self) -> Classes | None:
        """What the configuration says."""
        return None if self.classes is None else given(self.classes)

    def shard_names(self) -> list[str]:
        """Return one name per `shard_size` images: the file's and the first row."""
        return [f"{self.images.stem}-{first:06d}" for first in self._starts]

    def open_shard(self, index: int) -> ArrayShard:
        """Return so many rows.

        Raises:
            UserError: If a file is missing or damaged, or images, labels and rows do not go together.
        """
        name, (images, labels), first = self.shard_names()[index], self._arrays, self._rows[0]
        chosen = range(self._starts[index], min(self._starts[index] + self.shard_size, self._rows[1]))
        part = slice(chosen.start - first, chosen.stop - first)
        return ArrayShard(name, [f"{self.images.stem}/{row:06d}" for row in chosen], images[part], labels[part])

    def identity(self) -> str:
        """Return a hash of the chosen images and labels, of much more than `HASHED` bytes only some of each image."""
        return self._identity

    def shared(self, other: ImageSource) -> str:
        """Return which rows of one file are in both, or that what both hold is the same."""
        if not isinstance(other, Arrays):
            return super().shared(other)
        first, stop = max(self._rows[0], other._rows[0]), min(self._rows[1], other._rows[1])
        same_file = self._in_file and other._in_file and self.images.samefile(other.images)
        if same_file and self.images_key == other.images_key:
            return f"rows {first} to {stop} of {self.images} are in both" if first < stop else ""
        if np.may_share_memory(self._arrays[0], other._arrays[0]) or self._digest == other._digest:
            return f"{self.images} and {other.images} hold the same images"
        return ""

    @cached_property
    def _identity(self) -> str:
        first, stop = self._rows
        return f"Arrays-{self._digest}-{_digest(self._arrays[1])}-{first}-{stop}-by-{self.shard_size}"

    @cached_property
    def _digest(self) -> str:
        return _digest(self._stored[slice(*self._rows)])  # not of the transposed view: no copy of all of it

    @property
    def _starts(self) -> range:
        return range(*self._rows, self.shard_size)

    @property
    def _rows(self) -> tuple[int, int]:
        count = len(self._all)
        first, stop = self.rows or (0, count)
        if not count:
            raise UserError(f"{self.images} of shape {self._stored.shape} holds 0 images: at least one is needed")
        if not 0 <= first < stop <= count:
            raise UserError(f"{self.images} holds {count} images: accepted are rows of these, not {first} to {stop}")
        return first, stop

    @cached_property
    def _stored(self) -> NDArray[Any]:
        """All images as they are stored."""
        return read_array(self.images, self.images_key)

    @cached_property
    def _labels(self) -> NDArray[Any] | None:
        """All labels, if there are any."""
        if self.labels is None and self.labels_key is None:
            return None
        return read_array(self.labels or self.images, self.labels_key)

    @cached_property
    def _all(self) -> NDArray[Any]:
        """All images, ``(M, H, W, 3)``."""
        array = self._stored
        accepted = "accepted are (M, H, W, 3) and (M, 3, H, W)"
        if array.ndim != 4:
            raise UserError(f"{self.images} has shape {array.shape}: {accepted}")
        last, second = array.shape[3] == 3, array.shape[1] == 3
        if last and second and self.layout is None:
            raise UserError(f"{self.images} has shape {array.shape}, which may be both: set layout to NHWC or NCHW")
        if not (second if self.layout == "NCHW" else last if self.layout == "NHWC" else last or second):
            raise UserError(f"{self.images} has shape {array.shape}: {accepted}, layout is {self.layout or 'null'}")
        return array if self.layout == "NHWC" or not second else array.transpose(0, 2, 3, 1)

    @cached_property
    def _arrays(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The chosen images, ``(m, H, W, 3)``, and labels ``(m,)``."""
        rows = slice(*self._rows)
        labels = self._labels
        if labels is None:
            return self._all[rows], np.full(rows.stop - rows.start, -1)
        if labels.shape != self._all.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"{self.images} holds {len(self._all)} images, and its labels are {labels.dtype} {labels.shape}: "
                "accepted is one integer for each image"
            )
        if labels[rows].min() < -1:
            raise UserError(
                f"{self.images} has a label {labels[rows].min()}: accepted are 0 and more, and -1 (unknown)"
            )
        return self._all[rows], labels[rows].astype(np.int64)


def _array(given: NDArray[Any] | Tensor) -> NDArray[Any]:
    return np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)


def _digest(array: NDArray[Any]) -> str:
    """Hash an array of M rows; where it has more bytes than `HASHED`, as many from the middle of each row."""
    rows = array.reshape(len(array), -1)
    each = min(max(HASHED // (len(array) * array.itemsize), 1), rows.shape[1])
    middle = (rows.shape[1] - each) // 2
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    for first in range(0, len(rows), 1024):
        digest.update(np.ascontiguousarray(rows[first : first + 1024, middle : middle + each]).data)
    return digest.hexdigest()[:16]
