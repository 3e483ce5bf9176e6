"""The paper's Figures 6 (b) and (c): accuracy against what a white box has of the rows of the database."""

from __future__ import annotations

from collections.abc import Mapping

from lit_knn.report.attackers import condensed
from lit_knn.report.figures.sweep import FEWEST, Point, Sweep
from lit_knn.report.headline import headline
from lit_knn.report.results.record import Record
from lit_knn.report.results.threats import threats
from lit_knn.report.settings import database_sizes


def percent(share: float) -> str:
    """Return a share as people write it, such as ``2.5 %``."""
    return f"{100 * share:.3g} %"


ROWS = Sweep("attacker's rows / defense's rows", text=percent)
OVERLAP = Sweep("attacker's rows that the defense has", log=False, text=percent)


def attacker_points(record: Record) -> dict[Sweep, list[Point]]:
    """Return the accuracies that white boxes of one run leave by how many rows they have, and by how many they share.

    White boxes belong together that differ in the one and not in the other, three of them at least.

    Args:
        record: Of a run with results.
    """
    sizes = database_sizes(record)
    boxes = {
        name: (_share(own.get("rows"), sizes[-1]), _share(own.get("overlap"), 1))
        for name, own in threats(record).items()
        if own["class"] == "WhiteBox" and sizes
    }
    return {
        sweep: points
        for place, sweep in enumerate((ROWS, OVERLAP))
        if (points := _points(record, {name: (box[place], box[1 - place]) for name, box in boxes.items()}, sweep))
    }


def _share(given: object, whole: int) -> float:
    """Return a number, or share, of what the defense has as a share; all of it where there is none."""
    if not isinstance(given, int | float):
        return 1.0
    return given if given <= 1 else given / whole


def _points(record: Record, boxes: Mapping[str, tuple[float, float]], sweep: Sweep) -> list[Point]:
    """Return the points of the largest groups of white boxes, given by what is varied and what is not."""
    groups: dict[float, dict[str, float]] = {}
    for name, (varied, fixed) in boxes.items():
        groups.setdefault(fixed, {})[name.replace("_", " ")] = varied
    groups = {fixed: group for fixed, group in groups.items() if len({*group.values()}) >= FEWEST}
    if not groups:
        return []
    results, points = condensed(record).results, []
    other = "overlap" if sweep is ROWS else "rows"
    for fixed, group in groups.items():
        series = f"{other} {percent(fixed)}" if len(groups) > 1 else ""
        for name, varied in group.items():
            found = [row for row in results if row["threat"] == name and row["tap"]]
            panels = headline(found).panels if found else []
            lines = [line for panel in panels for line in panel.lines]
            points += [Point.of(row, line.label, "white box", series, varied) for line in lines for row in line.rows]
    return points
