"""The picture of the paper's Figure 2: an image, what the attack makes of it, and what lies nearest to each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lit_knn.errors import UserError
from lit_knn.report.figures.saving import save_figure

RIGHT, WRONG = "#009E73", "#D55E00"  # Okabe and Ito's green and red, which color-blind readers can tell apart
LONGEST = 16  # characters of a class name that fit under an image
SMALL = 64  # pixels: below, an image is shown as the squares it is made of


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image and what the network says about it.

    Attributes:
        image: ``(3, H, W)`` uint8.
        predicted: Name of the predicted class.
        confidence: Softmax of that class, in [0, 1].
        correct: Whether that is the true class of the *query*.
    """

    image: NDArray[np.uint8]
    predicted: str
    confidence: float
    correct: bool


@dataclass(frozen=True, kw_only=True)
class PictureRow(Picture):
    """A query, clean or attacked, and its neighbors from near to far.

    Attributes:
        title: What stands to the left, such as "clean" or "PGD, Δ = 0.04".
        neighbors: Any number, the same in each row for a tidy picture.
    """

    title: str
    neighbors: Sequence[Picture]


def neighbor_picture(rows: Sequence[PictureRow], path: Path) -> Path:
    """Draw queries (left) with their nearest neighbors (right), framed by whether the prediction is right.

    Args:
        rows: From clean to strongly attacked, at least one.
        path: ``.png``, ``.pdf`` or ``.svg``.

    Raises:
        UserError: If there are no rows.

    References:
        Dubey et al. 2019, Figure 2.
    """
    if not rows:
        raise UserError("a neighbor picture needs at least one row")
    neighbors = max(len(row.neighbors) for row in rows)
    widths = [0.75, 1.0, 0.12, *[1.0] * neighbors]  # title, query, gap, neighbors
    figure = Figure(figsize=(1.35 * sum(widths), 1.72 * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), len(widths), squeeze=False, gridspec_kw={"width_ratios": widths})
    for axes in grid.flat:
        axes.set_axis_off()
    for cells, row in zip(grid, rows, strict=True):
        title = textwrap.fill(row.title.replace(" = ", "\u00a0=\u00a0"), 12)  # never between Δ and its value
        cells[0].text(0.5, 0.5, title, ha="center", va="center", transform=cells[0].transAxes, parse_math=False)
        _show(cells[1], row)
        for axes, neighbor in zip(cells[3:], row.neighbors, strict=False):
            _show(axes, neighbor)
    grid[0][1].set_title("query", fontsize="medium")
    if neighbors:
        grid[0][3].set_title("nearest neighbors →", fontsize="medium", loc="left")
    save_figure(figure, path, dpi=160)
    return path


def _show(axes: Axes, picture: Picture) -> None:
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    side = min(picture.image.shape[1:])
    axes.imshow(picture.image.transpose(1, 2, 0), interpolation="nearest" if side < SMALL else "antialiased")
    color = RIGHT if picture.correct else WRONG
    for spine in axes.spines.values():
        spine.set(edgecolor=color, linewidth=3)
    name = picture.predicted
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    mark = "✓" if picture.correct else "✗"
    axes.set_xlabel(f"{mark} {name}\n{picture.confidence:.2f}", fontsize="small", color=color, parse_math=False)
