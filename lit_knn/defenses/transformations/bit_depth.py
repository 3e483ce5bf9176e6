"""Fewer levels of brightness."""

from __future__ import annotations

from torch import Tensor

from lit_knn.defenses.transformations.base import Transformation
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness


class BitDepth(Transformation):
    """Round each value to the nearest of ``2**bits`` levels.

    Its gradient is zero wherever it exists, which hides the network's but does not take it away.

    Args:
        bits: Per channel, from 1 to 8.

    References:
        Xu et al. 2018, Section III.A; Guo et al. 2018, Section 3.2, with 3 bits.
    """

    random = False
    keeps_size = True

    def __init__(self, *, bits: int = 3) -> None:
        if not 1 <= bits <= 8:
            raise UserError(f"BitDepth has bits: {bits}; 1 to 8 are accepted")
        self.bits = bits
        self.name = f"{bits}-bit"

    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return rounded images ``(N, 3, H, W)``."""
        del randomness
        steps = 2**self.bits - 1
        rounded: Tensor = (image * steps).round() / steps
        return rounded
