"""The paper's own numbers beside those of a run that says where among them it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lit_knn.report.results.budgets import DEFAULT
from lit_knn.report.results.paper_setting import (
    DELTA,
    Fact,
    is_rival,
    of_attack,
    of_retrieval,
    of_rival,
    of_run,
    setting_of,
)
from lit_knn.report.results.published import Line, Place, lines, place
from lit_knn.report.results.record import Record, Row, leading, mapping, variant
from lit_knn.report.results.variant import UNDEFENDED, Variant


class Beside(NamedTuple):
    """A published accuracy beside a measured one.

    Attributes:
        line: Where it is printed.
        setting: ``clean``, ``gray box`` or ``black box``.
        measured: The row of the run.
        differs: What is not the same, in words; empty where all is the paper's that a record tells.
    """

    line: Line
    setting: str
    measured: Row
    differs: list[str]

    @property
    def published(self) -> float:
        """What the paper has printed."""
        return self.line.accuracies[self.setting]

    @property
    def difference(self) -> float:
        """The measured accuracy minus the published one."""
        return self.measured["accuracy"] - self.published


def beside(record: Record, delta: float) -> list[Beside]:
    """Return what a run has measured of the table that its configuration names, and what the paper says.

    Of several rows that a line of the paper may be, such as those of several taps, attacks and numbers of neighbors,
    the ones that differ least from the paper's setting.

    Args:
        record: Of the run; nothing of one without ``paper: {table: ..., row: ...}``.
        delta: The size that stands for the paper's Δ = 0.06 where the run was not measured at that.

    Raises:
        UserError: If the paper has no such place.

    References:
        Dubey et al. 2019, Tables 1, 2 and 4.

    Differences from the paper:
        Δ is a hard cap for each image in pixel space; the code that the paper used measures it in normalized space,
        and on average.
    """
    where = place(record.config.get("paper"))
    if where is None or not where.table:
        return []
    rows = leading(record.results)
    known = record.norm == DEFAULT and any(row["delta"] == DELTA for row in rows)
    rows = [row for row in rows if row["delta"] in (0, DELTA if known else delta)]
    usual = of_run(record)
    found = []
    for line in (line for line in lines() if line.table == where.table and _is_meant(line, where)):
        for setting in line.accuracies:
            candidates = [
                Beside(line, setting, row, [str(fact) for fact in [*usual, *facts] if fact.differs])
                for row, facts in _candidates(record, rows, line, setting)
            ]
            found += _nearest(candidates)
    return found


def _is_meant(line: Line, where: Place) -> bool:
    """Return whether a line is of the place: databases and other defenses of a table are told by the row."""
    databases = {other.row for other in lines() if other.kind == "retrieval"}
    if line.kind == "rival":
        return where.row in databases or where.row == line.row
    return line.kind == "undefended" or (line.kind == "retrieval" and where.row == line.row)


def _candidates(record: Record, rows: list[Row], line: Line, setting: str) -> Iterator[tuple[Row, list[Fact]]]:
    """Yield rows that a line may be in a setting, and what tells them from the paper's."""
    described = record.fingerprints.get("defenses")
    known = [mapping(part) for part in described] if isinstance(described, list) else []
    rivals = {str(part.get("name")): part for part in known if is_rival(part, line)}
    for row in rows:
        if setting_of(record, row) != setting or row["protocol"] not in ("", "mean") or row["rejected"]:
            continue
        facts = [] if setting == "clean" else of_attack(record, row, setting)
        if line.kind == "undefended" and row["defense"] == UNDEFENDED:
            yield row, facts
        elif line.kind == "rival" and row["defense"] in rivals:
            yield row, [*facts, *of_rival(rivals[row["defense"]], line)]
        elif (line.kind, line.weighting, line.combination) == ("retrieval", row["weighting"], row["combination"]):
            yield row, [*facts, *of_retrieval(record, row, line)]


def _nearest(candidates: list[Beside]) -> list[Beside]:
    """Return those that differ least; of each variant one, the first."""
    least = min((len(one.differs) for one in candidates), default=0)
    chosen: dict[Variant, Beside] = {}
    for one in candidates:
        if len(one.differs) == least:
            chosen.setdefault(variant(one.measured), one)
    return list(chosen.values())
