"""Names of lines beside their ends, so that nobody has to look them up in a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from lit_knn.report.figures.spreading import spread

GAP = 0.075  # between two names at least, in accuracy, where there are few: the height of small letters in two inches
OUT = 1.08  # where names start, in widths of the panel

Style = dict[str, Any]  # keyword arguments of a Line2D


class End(NamedTuple):
    """Where a line ends.

    Attributes:
        name: Of the line.
        x: Of its last point; None if it ends in another panel of the row, so that nothing leads to it.
        y: Of its last point, an accuracy.
        style: Of the line; ``color`` and ``marker`` are also those of its name.
    """

    name: str
    x: float | None
    y: float
    style: Style


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Write the name of each line to the right of its end, with its marker, and lead to it.

    Args:
        axes: A panel whose y is an accuracy.
        ends: Of its lines.
    """
    gap = min(GAP, 1 / max(1, len(ends) - 1))
    beside = axes.get_yaxis_transform()
    for end, place in zip(ends, spread([end.y for end in ends], gap, 0, 1), strict=True):
        color, lead = end.style["color"], {"arrowstyle": "-", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
        if end.x is not None:
            axes.annotate(
                "",
                (end.x, end.y),
                (OUT, place),
                textcoords=beside,
                arrowprops=lead | {"color": color},
                annotation_clip=False,
            )
        axes.plot([OUT], [place], end.style["marker"], color=color, markersize=4, transform=beside, clip_on=False)
        name = axes.text(OUT + 0.03, place, end.name, transform=beside, fontsize="small", verticalalignment="center")
        name.set_parse_math(False)
