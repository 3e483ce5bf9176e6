"""Who attacks, and how: what the rows of a defense are told apart by."""

from __future__ import annotations

from typing import NamedTuple

from lit_knn.report.results.record import Row


class Case(NamedTuple):
    """A threat and an attack.

    Attributes:
        threat: Name of the first.
        attack: Name of the second.
    """

    threat: str
    attack: str

    @classmethod
    def of(cls, row: Row) -> Case:
        """Return what a row is measured under."""
        return cls(row["threat"], row["attack"])

    @property
    def title(self) -> str:
        """What both are called together."""
        return f"{self.threat.replace('_', ' ')}, {self.attack}"

    @property
    def attacker(self) -> str:
        """What the threat alone is called where each has one attack: ``worst case`` for `WORST_CASE`."""
        return (self.attack if self == WORST_CASE else self.threat).replace("_", " ")


WORST_CASE = Case("all", "worst case")
"""For each image and variant, the attack of the run that breaks it."""
