"""Figures to files, all of one or nothing."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from lit_knn.storage.atomic import atomic_write


def save_figure(figure: Figure, *paths: Path, dpi: int) -> None:
    """Write a figure in the formats that the names end with, equal figures as equal bytes.

    It is arranged once, so that a second format takes half of the time of the first.

    Args:
        figure: Drawn.
        paths: ``.png``, ``.pdf`` or ``.svg``; their folders are made.
        dpi: Pixels per inch.

    Raises:
        WriteError: If the system does not let it be written.
    """
    for path in paths:
        # a salt, or names inside are drawn at random; and text stays text
        with atomic_write(path) as unfinished, rc_context({"svg.hashsalt": "lit_knn", "svg.fonttype": "none"}):
            kind = path.suffix[1:]
            figure.savefig(unfinished, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
        figure.set_layout_engine("none")
