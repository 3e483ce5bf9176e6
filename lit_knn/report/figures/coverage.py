"""Accuracy against coverage: what a defense that rejects gains by answering less."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from matplotlib import colormaps
from matplotlib.figure import Figure

from lit_knn.report.figures.chart import DARK
from lit_knn.report.figures.curves import DASHES, DPI, MARKERS, plain
from lit_knn.report.figures.saving import save_figure
from lit_knn.report.rejection import Kept
from lit_knn.report.results.budgets import sized

TITLE = 40  # letters that are as wide as a panel


def coverage_figure(points: Sequence[Kept], norm: str, *paths: Path) -> None:
    """Draw a panel for each defense: clean accuracy of what is answered, and robust accuracy at each size.

    Args:
        points: At least one.
        norm: What sizes are in.
        paths: ``.png``, ``.pdf`` or ``.svg``.

    References:
        Geifman and El-Yaniv 2017, arXiv:1705.08500, Section 2; Tramèr 2022, arXiv:2107.11630, Section 2.
    """
    lines, deltas = (list(dict.fromkeys(values)) for values in list(zip(*points, strict=True))[0:3:2])
    figure = Figure(figsize=(3.6 * len(lines) + 1.8, 3.2), layout="constrained")
    panels = figure.subplots(1, len(lines), squeeze=False, sharex=True, sharey=True)[0]
    for axes, line in zip(panels, lines, strict=True):
        for number, delta in enumerate(sorted(deltas)):
            here = [point for point in points if (point.line, point.delta) == (line, delta)]
            here.sort(key=lambda point: point.coverage)
            coverage = [point.coverage for point in here]
            if not number:
                clean = [point.clean for point in here]
                axes.plot(coverage, clean, color=DARK, linestyle=(0, (1, 1.5)), marker="x", label="clean, if answered")
            style = {"linestyle": DASHES[number % len(DASHES)], "marker": MARKERS[number % len(MARKERS)]}
            color = colormaps["viridis"](0.9 * number / max(1, len(deltas) - 1))
            axes.plot(
                coverage, [p.robust for p in here], color=color, label=sized(norm, delta), markersize=4.5, **style
            )
        axes.set_title(fill(line, TITLE), fontsize="small", parse_math=False)
        axes.set_xlabel("coverage of clean images")
        axes.set_xlim(-0.02, 1.02)  # a share, as accuracies are: of one threshold alone it would be a sliver
        plain(axes)
    panels[0].set_ylabel("accuracy, right or rejected")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", handlelength=3.5, frameon=False)
    save_figure(figure, *paths, dpi=DPI)
