"""The paper's Figure 5: accuracy against the size of the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_knn.report.attackers import condensed
from lit_knn.report.figures.sweep import Point, Sweep, sweep_figure
from lit_knn.report.headline import headline
from lit_knn.report.results.runs import Run
from lit_knn.report.settings import Value, database_sizes, differing

OF_A_SIZE = ("model.database.rows", "model.database.path", "model.database.order_seed", "seed_everything")
SIZES_FILE = "database-size.png"
LONGEST = 48  # characters of a label


def size_points(runs: Sequence[Run]) -> list[Point]:
    """Return the accuracies of all headline variants that search a database, as far as its size differs.

    Only runs of the same classifier and queries belong together. Where some of these have several sizes, runs that
    have one size, with settings of their own, are left out.
    """
    together: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if database_sizes(run.record):
            key = tuple(str(run.record.fingerprints.get(name)) for name in ("classifier", "queries"))
            together.setdefault(key, []).append(run)
    groups = {key: group for key, group in together.items() if len(_sizes(group)) > 1}
    points = []
    for (classifier, *_), group in groups.items():
        for run, name in _series(group):
            series = ", ".join(part for part in (classifier * (len(groups) > 1), name) if part)
            points += _points(run, series)
    return points


def _points(run: Run, series: str) -> list[Point]:
    results = condensed(run.record).results
    return [
        Point.of(row, line.label, panel.case.attacker, series, rows)
        for rows in database_sizes(run.record)
        for panel in headline([row for row in results if row["rows"] in ("", rows)]).panels
        for line in panel.lines
        if line.rows[0]["tap"]
        for row in line.rows
    ]


def size_figure(points: Sequence[Point], *paths: Path) -> None:
    """Draw accuracy against the number of rows.

    Args:
        points: At least one.
        paths: ``.png``, ``.pdf`` or ``.svg``.

    References:
        Dubey et al. 2019, Figure 5.
    """
    sweep_figure(points, Sweep("rows of the database"), *paths)


def _series(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """Return the runs of each series with its name: what differs besides size and seeds, or its runs if that is long.

    If each size has settings of its own, all runs are one series without a name.
    """
    series: dict[str, list[Run]] = {}
    for run, different in zip(runs, differing([run.record for run in runs]), strict=True):
        series.setdefault(_name(different), []).append(run)
    several = {name: group for name, group in series.items() if len(_sizes(group)) > 1}
    if not several:
        return [(run, "") for run in runs]
    names = {name: name if len(name) <= LONGEST else ", ".join(run.label for run in several[name]) for name in several}
    return [(run, names[name]) for name, group in several.items() for run in group]


def _sizes(runs: Sequence[Run]) -> set[int]:
    return {size for run in runs for size in database_sizes(run.record)}


def _name(different: dict[str, Value]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in different.items() if key not in OF_A_SIZE)
