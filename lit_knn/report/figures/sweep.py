"""Accuracy against something that a study varies: rows of the database, neighbors, what an attacker has of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from lit_knn.report.figures.curves import DASHES, DPI, MARKERS, plain
from lit_knn.report.figures.labels import End, Style, label_ends
from lit_knn.report.figures.saving import save_figure
from lit_knn.report.results.budgets import sized
from lit_knn.report.results.record import Row

FEWEST = 3  # values that make a curve: two points are none


class Point(NamedTuple):
    """One accuracy of a defense.

    Attributes:
        line: The defense: a row of panels.
        panel: Who attacks: a column.
        series: What else differs, such as which images the database holds: dashes.
        size: Of the perturbation: its norm, and how large: colors.
        x: What is varied.
        accuracy: In [0, 1].
        low: End of its 95 % interval.
        high: The other end.
    """

    line: str
    panel: str
    series: str
    size: tuple[str, float]
    x: float
    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, row: Row, line: str, panel: str, series: str, x: float) -> Point:
        """Return the point of a row."""
        return cls(line, panel, series, (row["norm"], row["delta"]), x, row["accuracy"], row["low"], row["high"])


class Sweep(NamedTuple):
    """What is varied.

    Attributes:
        label: Of the axis.
        log: Whether the axis is logarithmic.
        text: How a value is written where each has a tick; None where only powers of ten have.
    """

    label: str
    log: bool = True
    text: Callable[[float], str] | None = None


def sweep_figure(points: Sequence[Point], sweep: Sweep, *paths: Path) -> None:
    """Draw a row of panels for each defense, a column for each attacker, colors for sizes and dashes for series.

    Each line has its 95 % Wilson band and, in the last panel of a row, its size at its end. Points of one line at one
    x, such as those of runs that differ in their seeds only, count as their mean, as do the ends of their intervals.

    Args:
        points: At least one.
        sweep: What is varied.
        paths: ``.png``, ``.pdf`` or ``.svg``.

    References:
        Dubey et al. 2019, Figures 3, 5 and 6.
    """
    lines, panels, series = (list(dict.fromkeys(p[field] for p in points)) for field in range(3))
    sizes = sorted({point.size for point in points})
    colors = [colormaps["viridis"](0.9 * position / max(1, len(sizes) - 1)) for position in range(len(sizes))]
    figure = Figure(figsize=(3.0 * len(panels) + 1.6, 2.5 * len(lines) + 0.4), layout="constrained")
    grid = figure.subplots(len(lines), len(panels), squeeze=False, sharex=True, sharey=True)
    for axes_row, line in zip(grid, lines, strict=True):
        axes_row[0].set_ylabel(f"{line}\naccuracy", parse_math=False)
        for axes, panel in zip(axes_row, panels, strict=True):
            here = [point for point in points if (point.line, point.panel) == (line, panel)]
            ends = []
            for size, color in zip(sizes, colors, strict=True):
                for number, name in enumerate(series):
                    found = [p for p in here if (p.size, p.series) == (size, name)]
                    if found:
                        style = _style(number) | {"color": color}
                        ends.append(End(sized(*size), *_draw(axes, found, style), style))
            plain(axes)
        label_ends(axes, list({end.name: end for end in reversed(ends)}.values()))
    for axes, panel in zip(grid[0], panels, strict=True):
        axes.set_title(panel, fontsize="medium", parse_math=False)
    for axes in grid[-1]:
        axes.set_xlabel(sweep.label)
    _scale(grid[0][0], sweep, sorted({point.x for point in points}))
    if len(series) > 1:
        handles = [Line2D([], [], label=name, **_style(number)) for number, name in enumerate(series)]
        legend = figure.legend(handles=handles, loc="outside lower left", handlelength=3.5, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    save_figure(figure, *paths, dpi=DPI)


def _scale(axes: Axes, sweep: Sweep, values: Sequence[float]) -> None:
    if sweep.log:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if sweep.text:
        axes.set_xticks(values, [sweep.text(value) for value in values])
        axes.xaxis.set_minor_locator(NullLocator())


def _style(number: int) -> Style:
    """Return how the lines of a series look; its color is that of the size."""
    return {"color": "#333333", "linestyle": DASHES[number % len(DASHES)], "marker": MARKERS[number % len(MARKERS)]}


def _draw(axes: Axes, points: Sequence[Point], style: Style) -> tuple[float, float]:
    """Draw a line with its band and every point, and return its end."""
    values = sorted({point.x for point in points})
    found = [[(p.accuracy, p.low, p.high) for p in points if p.x == value] for value in values]
    means, low, high = zip(
        *([sum(part) / len(part) for part in zip(*here, strict=True)] for here in found), strict=True
    )
    dots = [point.x for point in points], [point.accuracy for point in points]
    axes.plot(*dots, style["marker"], color=style["color"], markersize=4.5)
    axes.plot(values, means, linewidth=1.6, **style | {"marker": ""})
    axes.fill_between(values, low, high, color=style["color"], alpha=0.15, linewidth=0)
    return values[-1], means[-1]
