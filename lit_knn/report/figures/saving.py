"""Figures to files, all of one or nothing."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from lit_knn.storage.atomic import atomic_write


def save_figure(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write a figure in the format that the name ends with.

    Args:
        figure: Drawn.
        path: ``.png``, ``.pdf`` or ``.svg``; its folder is made.
        dpi: Pixels per inch.

    Raises:
        WriteError: If the system does not let it be written.
    """
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix[1:], dpi=dpi)
