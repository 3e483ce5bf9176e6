"""What each kind of attacker leaves: the strongest of their attacks, so that the weak ones stand beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from lit_knn.report.results.case import WORST_CASE, Case
from lit_knn.report.results.record import Record, Row, variant
from lit_knn.report.results.threats import threats
from lit_knn.report.results.variant import UNDEFENDED


class Attacker(NamedTuple):
    """One threat of a configuration.

    Attributes:
        title: Its name in words.
        adaptive: Whether it knows the defense. A class that this package does not know is taken not to: better a
            warning too many than a robustness that nobody has tried to break.
        attacks: Names of their attacks.
        rows: For each Δ, variant and k that of the attack which leaves least. An attacker who knows the defense has
            none of the undefended classifier.
    """

    title: str
    adaptive: bool
    attacks: list[str]
    rows: list[Row]

    @property
    def worst_case(self) -> bool:
        """Whether it stands for all attackers of the run together."""
        return self.title == WORST_CASE.attack


def attackers(record: Record) -> list[Attacker]:
    """Return the threats of a run in its own order; a white box of several taps, and so names, is one."""
    known = _configured(record)
    groups: dict[str, list[Row]] = {}
    for row in record.results:
        groups.setdefault(_attacker(row, known), []).append(row)
    return [
        Attacker(
            WORST_CASE.attack if name == WORST_CASE.threat else name.replace("_", " "),
            adaptive := known.get(name, False),
            list(dict.fromkeys(row["attack"] for row in rows)),
            _strongest([row for row in rows if not (adaptive and row["defense"] == UNDEFENDED)]),
        )
        for name, rows in groups.items()
    ]


def condensed(record: Record) -> Record:
    """Return the record with one case for each attacker, called after their only attack or how many they have."""
    rows: list[Row] = []
    for found in attackers(record):
        several = len(found.attacks) > 1
        attack = f"strongest of {len(found.attacks)} attacks" if several else found.attacks[0]
        threat = WORST_CASE.threat if found.worst_case else found.title
        rows += [Row(**{**row, "threat": threat, "attack": attack}) for row in found.rows]
    return replace(record, results=rows)


def knows_defense(record: Record) -> bool:
    """Return whether any attacker of the run knows the defense."""
    found = attackers(record)
    if any(not one.worst_case for one in found):
        return any(one.adaptive for one in found)
    return any(name.startswith("copy of ") for name in record.fingerprints)  # a cascade has no rows of single threats


def _configured(record: Record) -> dict[str, bool]:
    """Return whether each threat knows the defense, by its name before that of a tap."""
    known = {"gray_box": False, "black_box": False, "white_box": True}
    return known | {name: own["class"].rpartition(".")[2] == "WhiteBox" for name, own in threats(record).items()}


def _attacker(row: Row, known: dict[str, bool]) -> str:
    """Return the longest known name that a row's threat is, or starts with; all that of the worst case."""
    name = row["threat"]
    if Case.of(row) == WORST_CASE:
        return name
    return max((k for k in known if name == k or name.startswith(f"{k} ")), key=len, default=name)


def _strongest(rows: Sequence[Row]) -> list[Row]:
    best: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (variant(row), row["delta"], row["topk"])
        if key not in best or row["accuracy"] < best[key]["accuracy"]:
            best[key] = row
    return list(best.values())
