"""Handwritten digits that scikit-learn carries: real images without a download."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lit_knn.data.base import ArrayShard, ImageSource
from lit_knn.errors import UserError

_TEST_SIZE = 500


class Digits(ImageSource):
    """Read the 1,797 handwritten digits of 8×8 pixels that scikit-learn carries, in a fixed split.

    Args:
        split: ``train`` (1,297 images), ``test`` (500, each class in proportion) or ``all``.

    References:
        Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """

    def __init__(self, *, split: Literal["train", "test", "all"]) -> None:
        if split not in ("train", "test", "all"):
            raise UserError(f"Digits has no split {split!r}: accepted are train, test and all")
        self.split = split

    @property
    def class_names(self) -> list[str]:
        """The ten digits."""
        return [str(digit) for digit in range(10)]

    def shard_names(self) -> list[str]:
        """Return the name of the only shard."""
        return [f"digits-{self.split}"]

    def open_shard(self, index: int) -> ArrayShard:
        """Return all images of the split."""
        return [self._shard][index]

    def identity(self) -> str:
        """Return the name of the split."""
        return f"digits-{self.split}"

    def shared(self, other: ImageSource) -> str:
        """Return that all digits hold those of each split, too."""
        if isinstance(other, Digits) and "all" in (self.split, other.split):
            return "one of them is all digits"
        return super().shared(other)

    @cached_property
    def _shard(self) -> ArrayShard:
        from sklearn.datasets import load_digits  # a second of imports that only this class needs

        digits = load_digits()
        labels = digits.target.astype(np.int64)
        rows = {"all": np.arange(len(labels)), **_split(labels)}[self.split]
        gray = np.rint(digits.images[rows] * (255 / 16)).astype(np.uint8)  # levels 0 to 16
        images = np.repeat(gray[..., None], 3, axis=3)  # (M, 8, 8, 3)
        return ArrayShard(f"digits-{self.split}", [f"digits/{row:04d}" for row in rows], images, labels[rows])


def _split(labels: NDArray[np.int64]) -> dict[str, NDArray[np.intp]]:
    """Shuffle, order by class, take every 3.6th for the test: a stratified split."""
    # NumPy froze this generator: the split stays the same with any later version
    shuffled = np.random.RandomState(0).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    chosen = (2 * np.arange(_TEST_SIZE) + 1) * len(labels) // (2 * _TEST_SIZE)
    return {"test": np.sort(by_class[chosen]), "train": np.sort(np.delete(by_class, chosen))}
