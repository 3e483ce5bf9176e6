"""What tells one line of the results from another; apart from the defenses, so that a report needs no PyTorch."""

from __future__ import annotations

from typing import NamedTuple


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
