"""The accuracies of a run as the script of the page draws them."""

from __future__ import annotations

from typing import Any

from lit_knn.report.figures.chart import line_styles
from lit_knn.report.headline import headline
from lit_knn.report.results.budgets import UNITS, size_text
from lit_knn.report.results.record import Record
from lit_knn.report.results.variant import UNDEFENDED

PARTS = 10_000  # of an accuracy of 1: more digits than are shown


def curve_data(record: Record) -> dict[str, Any]:
    """Return what a chart of one panel per threat and attack needs, as JSON would hold it.

    Args:
        record: Of a run with results.

    Returns:
        ``sizes``, each as number and text; ``lines``, the labels, with ``styles``, color (None of no defense, whose
        color is that of the text) and dashes; ``panels`` with their lines: number of the line, and rows of number of
        the size, accuracy and its interval in 1/10,000, and n. ``top``, ``shared``, ``symbol`` and ``unit`` say what
        all of it is of.
    """
    shown, unit = headline(record.results), UNITS[record.norm]
    labels = list(dict.fromkeys(line.label for panel in shown.panels for line in panel.lines))
    deltas = sorted({row["delta"] for row in shown.rows})
    styles = [
        (None if label == UNDEFENDED else style.color, style.dashes)
        for label, style in zip(labels, line_styles(labels), strict=True)
    ]
    panels = [
        {
            "title": panel.title,
            "lines": [
                (
                    labels.index(line.label),
                    [
                        (
                            deltas.index(row["delta"]),
                            *(round(PARTS * value) for value in (row["accuracy"], row["low"], row["high"])),
                            row["n"],
                        )
                        for row in line.rows
                    ],
                )
                for line in panel.lines
            ],
        }
        for panel in shown.panels
    ]
    return {
        "top": f"top-{shown.topk} accuracy with 95 % intervals",
        "shared": shown.shared,
        "symbol": unit.symbol,
        "unit": unit.label,
        "sizes": [(delta, size_text(record.norm, delta)) for delta in deltas],
        "lines": labels,
        "styles": styles,
        "panels": panels,
    }
