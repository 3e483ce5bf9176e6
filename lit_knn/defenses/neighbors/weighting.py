"""How much a neighbor's prediction counts, from its softmax alone.

No weight depends on the query or on the distance: each is a constant of its database row, computed once from the
float32 softmax when the row is written (`stored_weights`), and only gathered when votes are counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from lit_knn.database.predictions import NeighborPredictions
from lit_knn.database.store.softmax import LISTED
from lit_knn.errors import UserError


def entropy_gap(softmax: Tensor) -> Tensor:
    """Return CBW-E, ``|log C + Σ_c s_c log s_c|``, in nats; ``0 · log 0`` is 0.

    Args:
        softmax: ``(..., C)`` float in [0, 1], summing to 1.

    Returns:
        ``(...)`` float in [0, log C].

    References:
        Dubey et al. 2019, Section 4, CBW-E.
    """
    classes = softmax.new_tensor(float(softmax.shape[-1]))
    return (classes.log() + torch.xlogy(softmax, softmax).sum(dim=-1)).abs()


def top_gap(ranked: Tensor, m: int, p: float) -> Tensor:
    """Return CBW-D, ``Σ_{i=2}^{M+1} (ŝ_1 − ŝ_i)^P``.

    Args:
        ranked: ``(..., R)`` float in [0, 1]: the largest entries of a softmax in falling order. All of them are used
            where there are fewer than M + 1.
        m: How many runners-up are compared with the winner.
        p: Exponent.

    Returns:
        ``(...)`` float in [0, M].

    References:
        Dubey et al. 2019, Section 4, CBW-D (M = 20, P = 3).
    """
    return (ranked[..., :1] - ranked[..., 1 : m + 1]).pow(p).sum(dim=-1)


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


def stored_weights(softmax: Tensor) -> dict[str, Tensor]:
    """Return the columns that every store holds.

    Args:
        softmax: ``(n, C)`` float32.

    Returns:
        ``{"cbw_e": (n,), "cbw_d": (n,)}`` with the paper's M = 20 and P = 3.
    """
    ranked = softmax.topk(min(LISTED, softmax.shape[-1]), dim=-1).values
    return {"cbw_e": entropy_gap(softmax), "cbw_d": top_gap(ranked, m=20, p=3.0)}
