"""The paper's Figure 3: accuracy against the number of neighbors that vote."""

from __future__ import annotations

from lit_knn.report.attackers import condensed
from lit_knn.report.figures.sweep import FEWEST, Point, Sweep
from lit_knn.report.headline import headline
from lit_knn.report.results.record import Record
from lit_knn.report.settings import database_sizes

NEIGHBORS = Sweep("neighbors K", text=lambda value: f"{value:g}")


def neighbor_points(record: Record) -> list[Point]:
    """Return the accuracies of all headline variants of a run by number of neighbors, where there are several.

    Each attacker has a panel for each size of the database, with the strongest of their attacks.

    Args:
        record: Of a run with results.
    """
    counts = sorted({row["k"] for row in record.results if isinstance(row["k"], int)})
    if len(counts) < FEWEST:
        return []
    results, sizes, points = condensed(record).results, database_sizes(record), []
    for k in counts:
        for rows in sizes:
            some = [row for row in results if row["k"] in ("", k) and row["rows"] in ("", rows)]
            for panel in headline(some).panels:
                title = f"{panel.case.attacker}, {rows:,} rows" if len(sizes) > 1 else panel.case.attacker
                lines = [line for line in panel.lines if line.rows[0]["k"] == k]
                points += [Point.of(row, line.label, title, "", k) for line in lines for row in line.rows]
    found: dict[str, set[float]] = {}
    for point in points:
        found.setdefault(point.line, set()).add(point.x)
    return [point for point in points if len(found[point.line]) >= FEWEST]
