"""Fewer levels of brightness."""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

from lit_knn.defenses.transformations.base import Transformation
from lit_knn.defenses.transformations.stairs import smooth_floor
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

Quantizer = Literal["xu", "guo", "athalye"]


class BitDepth(Transformation):
    """Move each value to one of about ``2**bits`` levels.

    Its gradient is zero wherever it exists, which hides the network's but does not take it away. Attackers take that of
    smooth stairs (`BPDA`), which is steep where a small change reaches the next level. On the package's digits, with 2
    bits at Δ = .1, APGD then leaves .06 where the identity's gradient leaves .48.

    Args:
        bits: Per channel, from 1 to 8.
        quantizer: Whose levels, of L = ``2**bits``: ``xu`` moves to the nearest of the L levels k / (L − 1), ``guo`` to
            the nearest of the L + 1 levels k / L, and ``athalye`` keeps the first of the 8 bits of a value and sets the
            others to 0: L levels, the highest of which is darker than 1.

    References:
        Xu et al. 2018, Section III.A; Guo et al. 2018, Section 3.2, with 3 bits, and their code; the code of Athalye et
        al. 2018.
    """

    random = False
    keeps_size = True

    def __init__(self, *, bits: int = 3, quantizer: Quantizer = "xu") -> None:
        if not 1 <= bits <= 8 or quantizer not in get_args(Quantizer):
            raise UserError(
                f"BitDepth has bits: {bits}, quantizer: {quantizer}; bits from 1 to 8 are accepted, and "
                f"{', '.join(get_args(Quantizer))}"
            )
        self.bits, self.quantizer = bits, quantizer
        self.name = f"{bits}-bit" if quantizer == "xu" else f"{bits}-bit {quantizer}"

    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return images of these levels, ``(N, 3, H, W)``."""
        del randomness
        place, steps = self._place(image)
        return place.floor() / steps

    def near(self, image: Tensor) -> Tensor:
        """Return smooth stairs."""
        place, steps = self._place(image)
        return smooth_floor(place) / steps

    def _place(self, image: Tensor) -> tuple[Tensor, float]:
        """Return where on the stairs values are, with an edge at each whole number, and how many make 1."""
        levels = 2**self.bits
        if self.quantizer == "athalye":
            width = 256 // levels
            return image * 255 / width, 255 / width  # in this order: a stored byte is a whole number to the bit
        steps = levels - 1 if self.quantizer == "xu" else levels
        return image * steps + 0.5, float(steps)
