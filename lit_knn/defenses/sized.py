"""A retrieval defense with several databases, each a part of the next: Figure 5 in one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.defenses.base import Defense, Query
from lit_knn.variant import Variant

if TYPE_CHECKING:
    from lit_knn.database import Gallery


class Sized(Defense):
    """Let a defense answer from each of several galleries, and say of each answer how many rows it comes from.

    Args:
        defense: Asks a query for neighbours.
        views: The galleries.

    References:
        Dubey et al. 2019, Figure 5.
    """

    def __init__(self, defense: Defense, views: Sequence[Gallery]) -> None:
        self.defense, self.views = defense, views
        self.uses_image = defense.uses_image

    @property
    def variants(self) -> list[Variant]:
        """Those of the defense, view by view."""
        return [variant._replace(rows=len(view)) for view in self.views for variant in self.defense.variants]

    @property
    def needed(self) -> dict[str, int]:
        """What the defense needs."""
        return self.defense.needed

    def __call__(self, query: Query) -> Tensor:
        """Return scores ``(V, N, C)`` in the order of ``variants``."""
        return torch.cat([self.defense(query.of(view)) for view in self.views])
