"""The figure of a run as a small drawing: of two hundred runs Matplotlib draws for minutes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from lit_knn.report.figures.spreading import spread
from lit_knn.report.headline import Line, Panel, headline
from lit_knn.report.results.budgets import UNITS, size_text
from lit_knn.report.results.record import Record
from lit_knn.report.results.variant import UNDEFENDED
from lit_knn.report.table import cut
from lit_knn.storage.atomic import atomic_write

# Okabe and Ito's colors can be told apart by color-blind readers; dashes also in gray print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DARK = "#333333"  # of no defense

DASHES = ("none", "7 2", "4 1.5 1.5 1.5", "10 3 3 3")
WIDTH, HEIGHT = 190, 120  # of a panel's axes, in pixels
LEFT, TOP, BELOW, GAP = 40, 30, 40, 20  # around them
LEGEND, SIGN, STEP = 260, 26, 16  # its width, the line before each of its labels, and its lines


class Style(NamedTuple):
    """How a line looks."""

    color: str
    dashes: str


class Axes(NamedTuple):
    """Where a panel lies."""

    left: float
    largest: float
    norm: str

    def place(self, delta: float, accuracy: float) -> tuple[float, float]:
        """Return the point of an accuracy, in pixels."""
        return round(self.left + WIDTH * delta / self.largest, 1), round(TOP + HEIGHT * (1 - accuracy), 1)


def accuracy_chart(record: Record, path: Path) -> Path:
    """Draw one panel per threat and attack, one line per headline variant with its 95 % Wilson band, as SVG.

    Lines are named at their ends in the last panel.

    Args:
        record: Of a run with results.
        path: ``.svg``.
    """
    shown = headline(record.results)
    labels = list(dict.fromkeys(line.label for panel in shown.panels for line in panel.lines))
    styles = dict(zip(labels, line_styles(labels), strict=True))
    right = LEFT + len(shown.panels) * (WIDTH + GAP)
    height = max(TOP + HEIGHT + BELOW, TOP + STEP * (len(labels) + 1))
    largest = max(row["delta"] for row in shown.rows) or 1.0
    parts = [_text(0, 12, f"top-{shown.topk} accuracy", "start")]
    for number, panel in enumerate(shown.panels):
        parts += _panel(panel, Axes(LEFT + number * (WIDTH + GAP), largest, record.norm), styles)
    parts += [_text(right, TOP - 8, cut(shown.shared, 44), "start")]
    last = Axes(right - WIDTH - GAP, largest, record.norm)
    rows = {line.label: line.rows[-1] for panel in shown.panels for line in panel.lines}
    ends = {label: last.place(row["delta"], row["accuracy"]) for label, row in rows.items()}
    there = {line.label for line in shown.panels[-1].lines}  # to the others nothing leads
    lowest = max(TOP + HEIGHT, TOP + 4 + STEP * (len(ends) - 1))
    for (label, end), y in zip(ends.items(), spread([y for _, y in ends.values()], STEP, TOP + 4, lowest), strict=True):
        parts += [
            _path([end] * (label in there) + [(right, y), (right + SIGN, y)], styles[label]),
            _text(right + SIGN + 6, y + 4, cut(label, 40), "start"),
        ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{right + LEGEND}" height="{height}" '
    with atomic_write(path) as unfinished:
        text = "\n".join([f'{head}font-family="sans-serif" font-size="11">', *parts, "</svg>\n"])
        unfinished.write_text(text, encoding="utf-8")
    return path


def line_styles(labels: Sequence[str]) -> list[Style]:
    """Give each line its own color and dashes; no defense is always the same dark dotted line."""
    cycle = iter(Style(COLORS[i % len(COLORS)], DASHES[i // len(COLORS) % len(DASHES)]) for i in range(len(labels)))
    return [Style(DARK, "1.5 2.5") if label == UNDEFENDED else next(cycle) for label in labels]


def _panel(panel: Panel, axes: Axes, styles: dict[str, Style]) -> list[str]:
    parts = [_text(axes.left, TOP - 8, cut(panel.title, 34), "start")]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        start, end = axes.place(0, share), axes.place(axes.largest, share)
        parts.append(f'<path d="{_way([start, end])}" stroke="#dddddd"/>')
        if axes.left == LEFT:
            parts.append(_text(start[0] - 5, start[1] + 4, f"{share:g}", "end"))
    for delta in (0.0, axes.largest):
        x, y = axes.place(delta, 0)
        parts.append(_text(x, y + 15, size_text(axes.norm, delta), "middle"))
    parts.append(_text(axes.left + WIDTH / 2, TOP + HEIGHT + 30, UNITS[axes.norm].label, "middle"))
    return [*parts, *(part for line in panel.lines for part in _line(line, axes, styles[line.label]))]


def _line(line: Line, axes: Axes, style: Style) -> list[str]:
    up, down, through = (
        [axes.place(row["delta"], value) for row, value in zip(line.rows, values, strict=True)]
        for values in zip(*((row["high"], row["low"], row["accuracy"]) for row in line.rows), strict=True)
    )
    return [
        f'<path d="{_way([*up, *reversed(down)])}Z" fill="{style.color}" fill-opacity="0.15"/>',
        _path(through, style),
        *(f'<circle cx="{x:g}" cy="{y:g}" r="2.2" fill="{style.color}"/>' for x, y in through),
    ]


def _path(points: Sequence[tuple[float, float]], style: Style) -> str:
    look = f'stroke="{style.color}" stroke-dasharray="{style.dashes}" stroke-width="1.6" fill="none"'
    return f'<path d="{_way(points)}" {look}/>'


def _way(points: Sequence[tuple[float, float]]) -> str:
    return "M" + " ".join(f"{x:g},{y:g}" for x, y in points)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
