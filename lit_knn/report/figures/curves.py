"""The figure that answers the question: accuracy against the size of the perturbation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lit_knn.errors import UserError
from lit_knn.report.figures.chart import COLORS, DARK
from lit_knn.report.figures.saving import save_figure
from lit_knn.report.headline import Panel, headline
from lit_knn.report.results.budgets import UNITS, size_text
from lit_knn.report.results.record import Record
from lit_knn.report.results.variant import UNDEFENDED

# dashes and markers can be told apart in gray print
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (8, 2, 2, 2)), (0, (6, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
NO_DEFENSE = {"color": DARK, "linestyle": (0, (1, 1.5)), "marker": "x"}

DPI = 150

Style = dict[str, Any]  # keyword arguments of a Line2D


def accuracy_curves(record: Record, path: Path) -> Path:
    """Draw `accuracy_figure` into a file, ``.png``, ``.pdf`` or ``.svg``, and return its path.

    Raises:
        UserError: If the record holds no results.
    """
    save_figure(accuracy_figure(record), path, dpi=DPI)
    return path


def accuracy_figure(record: Record, kind: type[Figure] = Figure) -> Figure:
    """Draw one panel per threat and attack, one line per headline variant with its 95 % Wilson band.

    Args:
        record: Of a run with results.
        kind: Class of the figure.

    Raises:
        UserError: If the record holds no results.

    References:
        Dubey et al. 2019, Figures 3 to 5.
    """
    if not record.results:
        raise UserError(f"the record of run {record.run} holds no results to draw")
    shown = headline(record.results)
    labels = list(dict.fromkeys(line.label for panel in shown.panels for line in panel.lines))
    styles = dict(zip(labels, _styles(labels), strict=True))
    measured = sorted({row["delta"] for row in shown.rows})
    columns = min(3, len(shown.panels)) if len(shown.panels) != 4 else 2
    rows = -(-len(shown.panels) // columns)
    legend_width = 0.8 + 0.09 * max(map(len, [*labels, shown.shared]))  # inches, at matplotlib's default font
    figure = kind(figsize=(3.3 * columns + 0.4 + legend_width, 2.7 * rows + 0.4), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for position, (axes, panel) in enumerate(zip(grid, shown.panels, strict=False)):
        _draw(axes, panel, styles)
        if position % columns == 0:
            axes.set_ylabel(f"top-{shown.topk} accuracy")
        if position + columns >= len(shown.panels):  # nothing below
            axes.set_xlabel(UNITS[record.norm].label)
            if record.norm == "linf":  # in which nobody reads .0314
                axes.set_xticks(measured, [size_text(record.norm, size) for size in measured])
            axes.tick_params(labelbottom=True)
    for axes in grid[len(shown.panels) :]:
        axes.set_axis_off()
    figure.legend(
        [Line2D([], [], **styles[label]) for label in labels],
        labels,
        title=shown.shared or None,
        loc="outside right center",
        handlelength=3.5,
        frameon=False,
    )
    return figure


def _styles(labels: list[str]) -> list[Style]:
    """Give each line its own color, dashes and marker; no defense is always the same dark dotted line."""
    cycle = iter(
        {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i % len(DASHES)], "marker": MARKERS[i % len(MARKERS)]}
        for i in range(len(labels))
    )
    return [NO_DEFENSE if label == UNDEFENDED else next(cycle) for label in labels]


def _draw(axes: Axes, panel: Panel, styles: dict[str, Style]) -> None:
    for line in panel.lines:
        deltas = [row["delta"] for row in line.rows]
        style = styles[line.label]
        axes.plot(deltas, [row["accuracy"] for row in line.rows], markersize=4.5, linewidth=1.6, **style)
        axes.fill_between(
            deltas,
            [row["low"] for row in line.rows],
            [row["high"] for row in line.rows],
            color=style["color"],
            alpha=0.15,
            linewidth=0,
        )
    axes.set_title(panel.title, fontsize="medium", parse_math=False)
    plain(axes)


def plain(axes: Axes) -> None:
    """Leave of a panel of accuracies what is needed to read them."""
    axes.set_ylim(-0.02, 1.02)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
