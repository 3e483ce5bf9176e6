"""How sure a defense is of clean images: the rows of the database, each left out among its own neighbors."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lit_knn.database.resource import Resource
from lit_knn.defenses.left_out import drawn_rows, others
from lit_knn.defenses.query import Query
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import digest

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier
    from lit_knn.database import StoredGallery
    from lit_knn.defenses.base import Defense

VALUES = "confidence.npy"
AT_ONCE = 256  # rows


class Thresholds(Resource):
    """The confidence of each variant of a defense in rows of the database.

    Args:
        defense: Answers from neighbors, without the image.
        confident: Says how sure it is, by scores ``(V, N, C)``.
        kind: What that is called.
        rows: How many rows are asked about, drawn evenly; all, if there are fewer.
        seed: Of the draw.
    """

    def __init__(
        self, defense: Defense, confident: Callable[[Query, Tensor], Tensor], kind: str, rows: int, seed: int
    ) -> None:
        self._defense, self._confident = defense, confident
        self._kind, self._rows, self._seed = kind, rows, seed
        self.taps = list(defense.needed)
        self.name = f"thresholds {digest(self.settings())[:8]}"
        self._values = np.zeros((0, 0))  # ascending, of each variant

    def settings(self) -> Any:
        """Return what decides the values besides the database."""
        return {"defense": describe(self._defense), "kind": self._kind, "rows": self._rows, "seed": self._seed}

    def write(self, folder: Path, classifier: Classifier, gallery: StoredGallery) -> None:
        """Write the values, in order.

        Raises:
            UserError: If there are too few rows.
        """
        k = max(self._defense.needed.values())
        chosen = drawn_rows(gallery, self._rows, self._seed, k=k, whose="Rejecting")
        found = []
        for rows in chosen.split(AT_ONCE):
            query = Query(None, classifier, gallery, self._defense.needed)
            features = {tap: gallery.vectors(tap, rows) for tap in self._defense.needed}
            near = {tap: others(gallery, tap, rows, features[tap], k) for tap, k in self._defense.needed.items()}
            query.know(near, features)
            found.append(self._confident(query, self._defense(query)).double())
        np.save(folder / VALUES, np.sort(torch.cat(found, dim=1).numpy(), axis=1))

    def read(self, folder: Path) -> None:
        """Hold the values."""
        values = np.load(folder / VALUES, allow_pickle=False)
        if values.dtype != np.float64 or values.ndim != 2 or len(values) != len(self._defense.variants):
            raise ValueError(f"{VALUES} is {values.dtype}{values.shape}")
        self._values = values

    def at(self, keep: float) -> list[float]:
        """Return for each variant the largest threshold that at least a share of the rows reaches."""
        size = self._values.shape[1]
        reached = min(size, math.ceil(keep * size - 1e-9))
        thresholds: list[float] = self._values[:, size - reached].tolist()
        return thresholds
