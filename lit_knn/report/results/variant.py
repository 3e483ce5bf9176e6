"""What tells one line of the results from another, and which lines come first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

UNDEFENDED = "none"  # the line of the classifier itself


class Variant(NamedTuple):
    """One line of the results: a defense and what distinguishes its variants, blank where it has none.

    Attributes:
        defense: Its name.
        tap: Where neighbors are looked for.
        k: How many of them vote.
        weighting: How much each counts.
        combination: What is averaged.
        rows: How many rows the database has.
    """

    defense: str
    tap: str = ""
    k: int | str = ""
    weighting: str = ""
    combination: str = ""
    rows: int | str = ""

    def words(self) -> dict[str, str]:
        """Return the fields that are not blank, in words."""
        signs = {"k": "K=", "rows": "N="}
        return {name: f"{signs.get(name, '')}{value}" for name, value in self._asdict().items() if value != ""}

    def __str__(self) -> str:
        """Return all of it, such as ``kNN layer3.5 K=50 CBW-D soft N=1000``."""
        return " ".join(self.words().values())


def preferred(variants: Sequence[Variant]) -> list[Variant]:
    """Choose of each defense and tap the variants to be looked at first: one, or those that nothing here tells apart.

    In this order, as far as there is a choice: the largest K, the largest database, CBW-D with the paper's M and P,
    with others, the soft combination.

    References:
        Dubey et al. 2019, Table 4: CBW-D and soft are the best there.
    """
    chosen: list[Variant] = []
    for family in dict.fromkeys((variant.defense, variant.tap) for variant in variants):
        group = [variant for variant in variants if (variant.defense, variant.tap) == family]
        best = max(map(_rank, group))
        chosen += [variant for variant in group if _rank(variant) == best]
    return chosen


def _rank(variant: Variant) -> tuple[int, int, bool, bool, bool]:
    _, _, k, weighting, combination, rows = variant
    return int(k or 0), int(rows or 0), weighting == "CBW-D", weighting.startswith("CBW-D"), combination == "soft"
