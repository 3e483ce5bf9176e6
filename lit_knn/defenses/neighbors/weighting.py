"""How much a neighbor's prediction counts, from its softmax alone.

No weight depends on the query or on the distance: each is a constant of its database row, computed once from the
float32 softmax when the row is written (:mod:`lit_knn.database.store.confidence`), and only gathered when votes are
counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from lit_knn.database.store import NeighborPredictions
from lit_knn.database.store.confidence import top_gap
from lit_knn.errors import UserError


class Weighting(ABC):
    """Weight of a neighbor.

    Attributes:
        name: The paper's name, for tables.
    """

    name: str

    @abstractmethod
    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor]) -> Tensor:
        """Weigh neighbors.

        Args:
            predictions: What they predict.
            stored: Gives a weight column of the store for the same neighbors, ``(N, K)`` float32.

        Returns:
            ``(N, K)`` float, at least 0.
        """


class UW(Weighting):
    """Uniform weighting: every neighbor counts the same."""

    name = "UW"

    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor]) -> Tensor:
        """Return ones."""
        return torch.ones_like(predictions.probability[..., 0])


class CBWE(Weighting):
    """Confidence by entropy: how far a prediction is from knowing nothing."""

    name = "CBW-E"

    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor]) -> Tensor:
        """Gather the stored weights."""
        return stored("cbw_e")


class CBWD(Weighting):
    """Confidence by the winner's lead over the next M classes.

    Args:
        m: Runners-up that are compared; C − 1 where there are fewer. A store holds the 20 next, so 1 … 20.
        p: Exponent of each difference.
    """

    def __init__(self, *, m: int = 20, p: float = 3.0) -> None:
        if not 1 <= m <= 20 or p <= 0:
            raise UserError(f"CBWD takes m of 1 … 20 and p above 0, not m = {m}, p = {p}")
        self.m, self.p = m, p
        self.name = "CBW-D" if self._is_stored else f"CBW-D(M={m}, P={p:g})"

    @property
    def _is_stored(self) -> bool:
        return (self.m, self.p) == (20, 3.0)

    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor]) -> Tensor:
        """Gather the stored weights, or compute those of another M and P from the stored softmax."""
        return stored("cbw_d") if self._is_stored else top_gap(predictions.ranked(), self.m, self.p)
