"""Defenses that change the image before it is classified."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from lit_knn.defenses.base import Defense, Query, Variant
from lit_knn.errors import UserError


class Transformed(Defense):
    """The classifier behind a transformation of the image.

    A transformation that draws random numbers takes them from torch's global generator on the image's device: the run's
    ``seed_everything`` fixes them for batches of the same sizes in the same order, not for each image on its own.

    Attributes:
        name: What tables and figures call it.
    """

    name: str

    @abstractmethod
    def transform(self, image: Tensor) -> Tensor:
        """Return what the classifier sees of images ``(N, 3, H, W)`` in [0, 1]; it may differ in H and W."""

    @property
    def variants(self) -> list[Variant]:
        """One line."""
        return [Variant(self.name)]

    def __call__(self, query: Query) -> Tensor:
        """Return logits, ``(1, N, C)``: a saturated softmax would hide the gradient, as rounding does."""
        return query.classify(self.transform(query.image))[None]


class BitDepth(Transformed):
    """Fewer levels of brightness: each value is rounded to the nearest of ``2**bits``.

    Its gradient is zero wherever it exists, which hides the network's but does not take it away.

    Args:
        bits: Per channel, from 1 to 8.

    References:
        Xu et al. 2018, Section III.A; Guo et al. 2018, Section 3.2, with 3 bits.
    """

    def __init__(self, *, bits: int = 3) -> None:
        if not 1 <= bits <= 8:
            raise UserError(f"BitDepth has bits: {bits}; 1 to 8 are accepted")
        self.bits = bits
        self.name = f"{bits}-bit"

    def transform(self, image: Tensor) -> Tensor:
        """Return the rounded image."""
        steps = 2**self.bits - 1
        rounded: Tensor = (image * steps).round() / steps
        return rounded
