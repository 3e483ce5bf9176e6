"""The paper's Figure 5: accuracy against the size of the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from lit_knn.report.attackers import condensed
from lit_knn.report.figures.curves import DASHES, MARKERS, Style, plain
from lit_knn.report.figures.saving import save_figure
from lit_knn.report.headline import headline
from lit_knn.report.results import WORST_CASE
from lit_knn.report.results.budgets import sized
from lit_knn.report.results.runs import Run
from lit_knn.report.settings import Value, database_sizes, differing
from lit_knn.report.table import cut

OF_A_SIZE = ("model.database.rows", "model.database.path", "model.database.order_seed", "seed_everything")
SIZES_FILE = "database-size.png"
LONGEST = 48  # characters of a label


class Point(NamedTuple):
    """One accuracy of a retrieval defense.

    Attributes:
        line: The defense: a row of panels.
        panel: Who attacks: a column.
        series: What else differs between the runs, such as which images the database holds.
        size: Of the perturbation: its norm, and how large.
        rows: Size of the database.
        accuracy: In [0, 1].
    """

    line: str
    panel: str
    series: str
    size: tuple[str, float]
    rows: int
    accuracy: float


def size_points(runs: Sequence[Run]) -> list[Point]:
    """Return the accuracies of all headline variants that search a database, as far as its size differs.

    Only runs of the same classifier and queries belong together.
    """
    together: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if database_sizes(run.record):
            key = tuple(str(run.record.fingerprints.get(name)) for name in ("classifier", "queries"))
            together.setdefault(key, []).append(run)
    groups = {
        key: group
        for key, group in together.items()
        if len({size for run in group for size in database_sizes(run.record)}) > 1
    }
    points = []
    for (classifier, *_), group in groups.items():
        names = [", ".join(part for part in (classifier * (len(groups) > 1), name) if part) for name in _series(group)]
        points += [point for run, name in zip(group, names, strict=True) for point in _points(run, name)]
    return points


def _points(run: Run, series: str) -> list[Point]:
    results = condensed(run.record).results
    return [
        Point(
            line.label,
            WORST_CASE.attack if panel.case == WORST_CASE else panel.case.threat,
            series,
            (row["norm"], row["delta"]),
            rows,
            row["accuracy"],
        )
        for rows in database_sizes(run.record)
        for panel in headline([row for row in results if row["rows"] in ("", rows)]).panels
        for line in panel.lines
        if line.rows[0]["tap"]
        for row in line.rows
    ]


def size_figure(points: Sequence[Point], path: Path) -> None:
    """Draw a row of panels for each defense, a column for each attacker, colors for sizes and dashes for series.

    Runs that differ in their seeds only are points of one line, which goes through their mean.

    References:
        Dubey et al. 2019, Figure 5.
    """
    lines, panels, series = (list(dict.fromkeys(p[field] for p in points)) for field in range(3))
    sizes = sorted({point.size for point in points})
    colors = [colormaps["viridis"](0.9 * position / max(1, len(sizes) - 1)) for position in range(len(sizes))]
    figure = Figure(figsize=(3.0 * len(panels) + 2.2, 2.5 * len(lines) + 0.4), layout="constrained")
    grid = figure.subplots(len(lines), len(panels), squeeze=False, sharex=True, sharey=True)
    for axes_row, line in zip(grid, lines, strict=True):
        axes_row[0].set_ylabel(f"{line}\naccuracy", parse_math=False)
        for axes, panel in zip(axes_row, panels, strict=True):
            here = [point for point in points if (point.line, point.panel) == (line, panel)]
            for size, color in zip(sizes, colors, strict=True):
                for number, name in enumerate(series):
                    found = [p for p in here if (p.size, p.series) == (size, name)]
                    _draw(axes, found, _style(number) | {"color": color})
    for axes, panel in zip(grid[0], panels, strict=True):
        axes.set_title(panel, fontsize="medium", parse_math=False)
    for axes in grid[-1]:
        axes.set_xlabel("rows of the database")
    handles = [Line2D([], [], color=color, label=sized(*size)) for size, color in zip(sizes, colors, strict=True)]
    if len(series) > 1:
        handles += [Line2D([], [], label=name, **_style(number)) for number, name in enumerate(series)]
    legend = figure.legend(handles=handles, loc="outside right center", handlelength=3.5, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_figure(figure, path, dpi=150)


def _series(runs: Sequence[Run]) -> list[str]:
    """Name what differs besides size and seeds; nothing, if each size has settings of its own."""
    names = [_name(different) for different in differing([run.record for run in runs])]
    sizes: dict[str, set[int]] = {}
    for run, name in zip(runs, names, strict=True):
        sizes.setdefault(name, set()).update(database_sizes(run.record))
    return names if any(len(found) > 1 for found in sizes.values()) else [""] * len(names)


def _name(different: dict[str, Value]) -> str:
    parts = [f"{key.rpartition('.')[2]} {value}" for key, value in different.items() if key not in OF_A_SIZE]
    return cut(", ".join(parts), LONGEST)


def _style(number: int) -> Style:
    """Return how the lines of a series look; its color is that of the size."""
    return {"color": "#333333", "linestyle": DASHES[number % len(DASHES)], "marker": MARKERS[number % len(MARKERS)]}


def _draw(axes: Axes, points: Sequence[Point], style: Style) -> None:
    sizes = sorted({point.rows for point in points})
    found = [[point.accuracy for point in points if point.rows == size] for size in sizes]
    dots = [point.rows for point in points], [point.accuracy for point in points]
    axes.plot(*dots, style["marker"], color=style["color"], markersize=4.5)
    axes.plot(sizes, [sum(part) / len(part) for part in found], linewidth=1.6, **style | {"marker": ""})
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    plain(axes)
