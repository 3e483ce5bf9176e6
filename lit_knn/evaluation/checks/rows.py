"""The results of a run, put together as checks ask for them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from lit_knn.report.results import UNDEFENDED, Row, Variant
from lit_knn.report.results.budgets import sized
from lit_knn.report.results.record import variant
from lit_knn.threat_models import GrayBox, Threat, WhiteBox

Key = TypeVar("Key", bound=Hashable)


def grouped(rows: Iterable[Row], key: Callable[[Row], Key]) -> dict[Key, list[Row]]:
    """Return rows by key, both in the order in which they appear."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def cell(row: Row) -> tuple[Variant, float]:
    """Return what is attacked and how hard: the key under which attacks can be compared."""
    return variant(row), row["delta"]


def strongest(rows: Iterable[Row]) -> Row:
    """Return the row with the lowest accuracy, the first of equal ones."""
    return min(rows, key=lambda row: row["accuracy"])


def is_above(row: Row, other: Row) -> bool:
    """Tell whether an accuracy is above another beyond the confidence intervals of both."""
    return row["low"] > other["high"]


def aims_at(threat: Threat, row: Row) -> bool:
    """Tell whether a row is the accuracy of what a threat attacks; a transfer of its images otherwise."""
    if isinstance(threat, WhiteBox) and threat.defense is not None:
        return any(copy.family == variant(row).family for copy in threat.defense.variants)
    return isinstance(threat, GrayBox) and row["defense"] == UNDEFENDED


def where(row: Row) -> str:
    """Return a row in words, without its attack: ``kNN late K=5 UW soft N=1000 at Δ = 0.1``."""
    return f"{variant(row)} at {size(row)}"


def size(row: Row) -> str:
    """Return the size of a perturbation in words: ``Δ = 0.1``."""
    return sized(row["norm"], row["delta"])


def who(row: Row) -> str:
    """Return the attack of a row in words: ``PGD (gray box)``."""
    return f"{row['attack']} ({row['threat'].replace('_', ' ')})"


def percent(share: float) -> str:
    """Return a share in words: ``42 %``, or ``3.1 %`` where a digit more tells something."""
    return f"{100 * share:.{0 if share in (0, 1) or share >= 0.1 else 1}f} %"
