"""The picture of the paper's Figure 2: an image, what the attack makes of it, and what lies nearest to each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lit_knn.errors import UserError
from lit_knn.report.figures.saving import save_figure
from lit_knn.report.table import cut

RIGHT, WRONG = "#009E73", "#D55E00"  # Okabe and Ito's green and red, which color-blind readers can tell apart
LONGEST = 16  # characters of a class name that fit under an image
SIDE, STEP, GAP = 1.2, 1.35, 0.16  # inches: of an image, from one to the next, and between query and neighbors
TITLE, HEAD, LINE = 1.15, 0.3, 1.72  # inches: left of the images, above them, and from one row to the next
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
    width, height = TITLE + STEP * (1 + neighbors) + GAP * (neighbors > 0), HEAD + LINE * len(rows)  # inches
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # one: each takes time to be arranged
    axes.set_axis_off()
    axes.text(TITLE + SIDE / 2, HEAD - 0.08, "query", ha="center")
    if neighbors:
        axes.text(TITLE + STEP + GAP, HEAD - 0.08, "nearest neighbors →")
    for top, row in zip(np.arange(len(rows)) * LINE + HEAD, rows, strict=True):
        title = textwrap.fill(row.title.replace(" = ", "\u00a0=\u00a0"), 12)  # never between Δ and its value
        axes.text(TITLE / 2, top + SIDE / 2, title, ha="center", va="center", parse_math=False)
        _show(axes, TITLE, top, row)
        for place, neighbor in enumerate(row.neighbors, 1):
            _show(axes, TITLE + place * STEP + GAP, top, neighbor)
    save_figure(figure, path, dpi=160)
    return path


def _show(axes: Axes, left: float, top: float, picture: Picture) -> None:
    """Draw an image in a frame, and its prediction below."""
    height, width = picture.image.shape[1:]
    across, down = SIDE * min(1, width / height), SIDE * min(1, height / width)
    left += (SIDE - across) / 2
    top += (SIDE - down) / 2
    axes.imshow(
        picture.image.transpose(1, 2, 0),
        extent=(left, left + across, top + down, top),
        interpolation="nearest" if min(height, width) < SMALL else "antialiased",
        aspect="auto",
    )
    color = RIGHT if picture.correct else WRONG
    axes.add_patch(Rectangle((left, top), across, down, fill=False, edgecolor=color, linewidth=3))
    mark = "✓" if picture.correct else "✗"
    below = f"{mark} {cut(picture.predicted, LONGEST)}\n{picture.confidence:.2f}"
    place = left + across / 2, top + down + 0.06
    axes.text(*place, below, ha="center", va="top", fontsize="small", color=color, parse_math=False)
