"""What of the paper no run has measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lit_knn.report.results.paper import Beside
from lit_knn.report.results.published import Place, figures, lines


def unmeasured(places: Sequence[Place], found: Iterable[Beside]) -> list[str]:
    """Return the rows of the paper's tables, and the figures, that no run stands beside, in words by table.

    What the paper only quotes is not among them, as no run could. A row is there, but for the named columns, if any of
    its accuracies is.

    Args:
        places: Those that runs name.
        found: What they have measured of tables.
    """
    there = {(one.line.table, one.line.row, one.setting) for one in found}
    missing: dict[str, list[str]] = {}
    rows = dict.fromkeys((line.table, line.row) for line in lines() if line.kind != "quoted")
    for table, row in rows:
        settings = dict.fromkeys(
            s for line in lines() if (line.table, line.row) == (table, row) for s in line.accuracies
        )
        left = [setting for setting in settings if (table, row, setting) not in there]
        if left:
            part = "" if len(left) == len(settings) else f" ({', '.join(left)})"
            missing.setdefault(f"Table {table}", []).append(f"{row}{part}")
    shown = {(place.figure, place.panel) for place in places}
    for number, figure in figures().items():
        left = [panel for panel in figure.panels or [""] if not {(number, ""), (number, panel)} & shown]
        if left:
            part = "" if len(left) == max(1, len(figure.panels)) else f" ({', '.join(left)})"
            missing.setdefault("Figures", []).append(f"{number}{part}")
    return [f"{where}: {', '.join(names)}" for where, names in missing.items()]
