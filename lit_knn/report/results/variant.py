"""What tells one line of the results from another, and which lines come first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

UNDEFENDED = "none"
"""The defense of the classifier itself."""
PROTOCOLS = ("mean", "worst", "majority")
"""How several evaluations of a query count; README of configs says what each is."""

ALIKE = ("", "UW", "CBW-E", "CBW-D")  # which weigh rows, whatever the query
USUAL_KEEP = 0.95
REJECTED = ("wrong", "right")
"""What an image may count as that a defense does not answer."""


class Variant(NamedTuple):
    """One line of the results: a defense and what distinguishes its variants, blank where it has none.

    Attributes:
        defense: Its name.
        tap: Where neighbors are looked for.
        k: How many of them vote.
        weighting: How much each counts.
        combination: What is averaged.
        rows: How many rows the database has.
        protocol: What several evaluations of each query are taken for, of a defense that answers at random and is
            evaluated more than once: one of `PROTOCOLS`.
        evaluations: How many.
        keep: Share of the rows that a defense which rejects would answer.
        rejected: What a rejected image counts as, one of `REJECTED`.
    """

    defense: str
    tap: str = ""
    k: int | str = ""
    weighting: str = ""
    combination: str = ""
    rows: int | str = ""
    protocol: str = ""
    evaluations: int | str = ""
    keep: float | str = ""
    rejected: str = ""

    @property
    def answer(self) -> Variant:
        """What is evaluated, whatever several evaluations of it are taken for."""
        return self._replace(protocol="", evaluations="")

    @property
    def trials(self) -> int:
        """The largest number that a query adds to what is counted: its evaluations in a mean, and else 1."""
        return int(self.evaluations) if self.protocol == "mean" else 1

    @property
    def enough(self) -> int:
        """How many right evaluations are one right answer, 0 where each of them counts."""
        times = int(self.evaluations or 1)
        return {"worst": times, "majority": times // 2 + 1}.get(self.protocol, 0)

    @property
    def family(self) -> tuple[str, str, str]:
        """Defense, tap, and a weighting that goes by the query: what attackers copy once, and results show first.

        On digits (early tap, Δ = 0.1) attacks on UW, CBW-E or CBW-D leave any of them between .585 and .59, and
        ``cosine(T=0.07)`` .695, where those on that vote itself leave .64.
        """
        return self.defense, self.tap, self.kind

    @property
    def kind(self) -> str:
        """The weighting, if it goes by the query; blank of all that go by the row alone."""
        return "" if self.weighting.partition("(")[0] in ALIKE else self.weighting

    def evaluated(self, times: int) -> list[Variant]:
        """Return the lines of so many evaluations: itself, or one for each protocol."""
        if times == 1:
            return [self]
        return [self._replace(protocol=protocol, evaluations=times) for protocol in PROTOCOLS]

    def words(self) -> dict[str, str]:
        """Return the fields that are not blank, in words."""
        signs = {"k": "K=", "rows": "N=", "keep": "keep=", "rejected": "rejected="}
        values = self.answer._asdict() | {"protocol": self.protocol and f"{self.protocol}-of-{self.evaluations}"}
        return {name: f"{signs.get(name, '')}{value}" for name, value in values.items() if value != ""}

    def __str__(self) -> str:
        """Return all of it, such as ``kNN layer3.5 K=50 CBW-D soft N=1000``."""
        return " ".join(self.words().values())


def answers_of(lines: Sequence[Variant]) -> list[Variant]:
    """Return what is evaluated, V variants in their order, where each fills one line of the results or several."""
    return list(dict.fromkeys(line.answer for line in lines))


def preferred(variants: Sequence[Variant]) -> list[Variant]:
    """Choose of each `Variant.family` what is to be looked at first: one, or those that nothing here tells apart.

    In this order, as far as there is a choice: the largest K, the largest database, CBW-D with the paper's M and P,
    with others, the soft combination, the share nearest to .95 that a defense which rejects would answer.

    References:
        Dubey et al. 2019, Table 4: CBW-D and soft are the best there.
    """
    chosen: list[Variant] = []
    for family in dict.fromkeys(variant.family for variant in variants):
        group = [variant for variant in variants if variant.family == family]
        best = max(map(_rank, group))
        chosen += [variant for variant in group if _rank(variant) == best]
    return chosen


def _rank(variant: Variant) -> tuple[int, int, bool, bool, bool, float]:
    k, rows = int(variant.k or 0), int(variant.rows or 0)
    weighting, away = variant.weighting, abs(float(variant.keep or USUAL_KEEP) - USUAL_KEEP)
    return k, rows, weighting == "CBW-D", weighting.startswith("CBW-D"), variant.combination == "soft", -away
