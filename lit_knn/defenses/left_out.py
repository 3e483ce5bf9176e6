"""Rows of the database in the place of clean images: each is left out among its own neighbors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lit_knn.database import Gallery
from lit_knn.database.index import Neighbors
from lit_knn.errors import UserError, counted


def drawn_rows(gallery: Gallery, count: int, seed: int, *, k: int, whose: str) -> Tensor:
    """Return some rows ``(n,)`` int64, drawn evenly and ascending; all, if there are fewer than ``count``.

    Args:
        gallery: Of which.
        count: How many.
        seed: Of the draw.
        k: How many others each of them is to have.
        whose: Who wants them, for messages.

    Raises:
        UserError: If the database has no k rows beside one.
    """
    ids = gallery.ids
    if len(ids) <= k:
        raise UserError(
            f"{whose} looks for {k} neighbors of a row beside itself, but the database has "
            f"{counted(len(ids), 'row', 'rows')}"
        )
    order = np.random.RandomState(seed).permutation(len(ids))  # NumPy froze this generator
    return ids[torch.from_numpy(order[:count]).sort().values]


def others(gallery: Gallery, tap: str, rows: Tensor, features: Tensor, k: int) -> Neighbors:
    """Return the k nearest rows of each of ``(n,)`` rows, with features ``(n, D)``, but itself."""
    ids, distances = gallery.search(tap, features, k + 1)
    itself = ids == rows[:, None]
    itself[:, -1] |= ~itself.any(dim=1)  # an index may have missed it, or copies of it come first
    return Neighbors(ids[~itself].view(len(rows), k), distances[~itself].view(len(rows), k))
