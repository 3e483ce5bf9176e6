"""The units that the size of a perturbation is given in, and how people read and write them."""

from __future__ import annotations

from fractions import Fraction
from math import inf, isclose, isfinite
from typing import Literal, NamedTuple

from lit_knn.errors import UserError

NormName = Literal["relative_l2", "l2", "linf"]
GRAY = 255  # steps between black and white, in which others give L∞


class Unit(NamedTuple):
    """How sizes in one norm are written.

    Attributes:
        symbol: Their sign.
        definition: What the sign stands for.
        largest: The largest size that an attack may be given; all are above 0.
    """

    symbol: str
    definition: str
    largest: float = 1.0

    @property
    def label(self) -> str:
        """Sign and definition, for axes and titles."""
        return f"{self.symbol} = {self.definition}"

    @property
    def accepted(self) -> str:
        """The sizes that an attack may be given, as an interval."""
        return f"(0, {self.largest:g}]" if isfinite(self.largest) else "(0, ∞)"

    def accepts(self, size: float) -> bool:
        """Return whether an attack may be given a size."""
        return isfinite(size) and 0 < size <= self.largest


UNITS: dict[str, Unit] = {
    "relative_l2": Unit("Δ", "‖x*−x‖₂ / ‖x‖₂"),
    "l2": Unit("L2", "‖x*−x‖₂", inf),
    "linf": Unit("L∞", "‖x*−x‖∞"),
}
DEFAULT: NormName = "relative_l2"


def parse_size(given: float | str, where: str) -> float:
    """Return a size that is given as a number or as a fraction such as ``8/255``.

    Args:
        given: The size.
        where: What it is given as, for messages.

    Raises:
        UserError: If it is neither.
    """
    try:
        return float(Fraction(given) if isinstance(given, str) else given)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise UserError(f"{where}: {given!r} is no size; numbers, and fractions such as 8/255, are accepted") from error


def size_text(norm: str, size: float) -> str:
    """Return a size as people write it: 0.06, and in L∞ 8/255 where it is a multiple of that."""
    if norm == "linf" and isfinite(size):
        steps = round(size * GRAY)
        if steps > 0 and steps != GRAY and isclose(size * GRAY, steps, rel_tol=1e-6):
            return f"{steps}/{GRAY}"
    return f"{size:g}"


def sized(norm: str, size: float) -> str:
    """Return a size with its sign, as in ``Δ = 0.06``."""
    return f"{UNITS[norm].symbol} = {size_text(norm, size)}"
