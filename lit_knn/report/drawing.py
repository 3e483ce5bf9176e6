"""The figures of a report as files, each as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lit_knn.report.attackers import condensed
from lit_knn.report.figures.attacker_databases import ROWS, attacker_points
from lit_knn.report.figures.chart import accuracy_chart
from lit_knn.report.figures.coverage import coverage_figure
from lit_knn.report.figures.curves import accuracy_curves
from lit_knn.report.figures.neighbor_counts import NEIGHBORS, neighbor_points
from lit_knn.report.figures.sizes import SIZES_FILE, size_figure, size_points
from lit_knn.report.figures.sweep import sweep_figure
from lit_knn.report.rejection import kept
from lit_knn.report.rendering.document import Figure
from lit_knn.report.results.budgets import UNITS
from lit_knn.report.results.runs import Run
from lit_knn.storage.atomic import writing

SIZES = "Accuracy against the number of rows of the database that were searched (the paper's Figures 5, 9 and 10)."


def run_figures(run: Run, folder: Path, name: str, *, many: bool) -> list[Figure]:
    """Draw what there is to draw of one run, its accuracies first.

    Args:
        run: A finished run.
        folder: Where the files go.
        name: Of the run, in names of files.
        many: Draw SVG alone, and accuracies as a `accuracy_chart`: of two hundred runs Matplotlib draws for minutes.

    Raises:
        WriteError: If the system does not let them be written.
    """
    record, formats = run.record, (".svg",) if many else (".png", ".svg")

    def files(kind: str) -> list[Path]:
        return [folder / f"{kind}-{name}{suffix}" for suffix in formats]

    def figure(kind: str, text: str) -> Figure:
        path, *drawing = files(kind)
        return Figure(path, f"{text} of {run.label}", *drawing)

    with writing(folder):
        (accuracy_chart if many else accuracy_curves)(condensed(record), *files("accuracy"))
        drawn = [figure("accuracy", f"Accuracy against {UNITS[record.norm].symbol}")]
        if rejecting := kept(record):
            coverage_figure(rejecting, record.norm, *files("coverage"))
            drawn.append(figure("coverage", "Accuracy against coverage"))
        if counts := neighbor_points(record):
            sweep_figure(counts, NEIGHBORS, *files("neighbors"))
            drawn.append(
                figure("neighbors", "Accuracy against the number of neighbors (the paper's Figures 3, 7 and 8)")
            )
        for sweep, points in attacker_points(record).items():
            kind, panel, what = ("rows", "b", "size") if sweep is ROWS else ("overlap", "c", "overlap")
            sweep_figure(points, sweep, *files(f"attacker-{kind}"))
            text = f"Accuracy against the {what} of the attacker's database (the paper's Figure 6 {panel})"
            drawn.append(figure(f"attacker-{kind}", text))
    return drawn


def sizes_figure(runs: Sequence[Run], folder: Path) -> Figure | None:
    """Draw accuracies against the size of the database, if runs of one study have several.

    Raises:
        WriteError: If the system does not let it be written.
    """
    if not (points := size_points(runs)):
        return None
    path = folder / SIZES_FILE
    with writing(path):
        size_figure(points, path, path.with_suffix(".svg"))
    return Figure(path, SIZES, path.with_suffix(".svg"))
