"""The figure that answers the question: accuracy against the size of the perturbation."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lit_knn.errors import UserError
from lit_knn.report.figures.chart import COLORS, DARK
from lit_knn.report.figures.labels import End, Style, label_ends
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


def accuracy_curves(record: Record, *paths: Path) -> None:
    """Draw `accuracy_figure` into files, ``.png``, ``.pdf`` or ``.svg``.

    Raises:
        UserError: If the record holds no results.
    """
    save_figure(accuracy_figure(record), *paths, dpi=DPI)


def accuracy_figure(record: Record, kind: type[Figure] = Figure) -> Figure:
    """Draw one panel per threat and attack, one line per headline variant with its 95 % Wilson band.

    Lines are named at their ends, in the last panel of each row.

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
    names = 0.5 + 0.08 * max(map(len, labels))  # inches, in small letters of matplotlib's default font
    tall = max(2.7, 0.7 + 0.19 * len(labels))  # so that names have room below each other
    figure = kind(figsize=(3.3 * columns + 0.4 + names, tall * rows + 0.4), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for position, (axes, panel) in enumerate(zip(grid, shown.panels, strict=False)):
        if position % columns == 0:
            ends: dict[str, End] = {}
        ends = {name: end._replace(x=None) for name, end in ends.items()} | _draw(axes, panel, styles)
        if position % columns == columns - 1 or position == len(shown.panels) - 1:
            label_ends(axes, [*ends.values()])
        if position % columns == 0:
            axes.set_ylabel(f"top-{shown.topk} accuracy")
        if position + columns >= len(shown.panels):  # nothing below
            axes.set_xlabel(UNITS[record.norm].label)
            if record.norm == "linf":  # in which nobody reads .0314
                axes.set_xticks(measured, [size_text(record.norm, size) for size in measured])
            axes.tick_params(labelbottom=True)
    for axes in grid[len(shown.panels) :]:
        axes.set_axis_off()
    if shown.shared:
        figure.suptitle(shown.shared, x=0.01, horizontalalignment="left", fontsize="medium", parse_math=False)
    return figure


def _styles(labels: list[str]) -> list[Style]:
    """Give each line its own color, dashes and marker; no defense is always the same dark dotted line."""
    cycle = iter(
        {"color": COLORS[i % len(COLORS)], "linestyle": DASHES[i % len(DASHES)], "marker": MARKERS[i % len(MARKERS)]}
        for i in range(len(labels))
    )
    return [NO_DEFENSE if label == UNDEFENDED else next(cycle) for label in labels]


def _draw(axes: Axes, panel: Panel, styles: dict[str, Style]) -> dict[str, End]:
    """Draw the lines of a panel and return their ends by name."""
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
    last = {line.label: line.rows[-1] for line in panel.lines}
    return {label: End(label, row["delta"], row["accuracy"], styles[label]) for label, row in last.items()}


def plain(axes: Axes) -> None:
    """Leave of a panel of accuracies what is needed to read them."""
    axes.set_ylim(-0.02, 1.02)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
