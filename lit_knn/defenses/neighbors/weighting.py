"""How much a neighbor's prediction counts, by its softmax or by how near it is.

None of the paper's weights depends on the query or on the distance: each is a constant of its database row, computed
once from the float32 softmax when the row is written (`lit_knn.database.store.confidence`), and only gathered when
votes are counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lit_knn.database.store import NeighborPredictions
from lit_knn.database.store.confidence import top_gap
from lit_knn.defenses.neighbors.nearness import Nearness
from lit_knn.errors import UserError


class Weighting(ABC):
    """Weight of a neighbor.

    Attributes:
        name: The paper's name, for tables.
    """

    name: str

    @abstractmethod
    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor], nearness: Nearness) -> Tensor:
        """Weigh neighbors.

        Args:
            predictions: What they predict.
            stored: Gives a weight column of the store for the same neighbors, ``(N, K)`` float32.
            nearness: How near they are, nearest first.

        Returns:
            ``(N, K)`` float, at least 0. Only ratios within a row count.
        """

    def lent(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor], nearness: Nearness) -> Tensor:
        """Weigh neighbors as an attacker does, who wants a gradient: by default as the defense does.

        Arguments and result are those of a call.
        """
        return self(predictions, stored, nearness)


class UW(Weighting):
    """Uniform weighting: every neighbor counts the same."""

    name = "UW"

    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor], nearness: Nearness) -> Tensor:
        """Return ones."""
        return torch.ones_like(predictions.probability[..., 0])


class CBWE(Weighting):
    """Confidence by entropy: how far a prediction is from knowing nothing."""

    name = "CBW-E"

    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor], nearness: Nearness) -> Tensor:
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

    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor], nearness: Nearness) -> Tensor:
        """Gather the stored weights, or compute those of another M and P from the stored softmax."""
        return stored("cbw_d") if self._is_stored else top_gap(predictions.ranked(), self.m, self.p)


WIDEST = 6.0  # of logarithms of weights that an attacker takes: with more, the nearest row has all of the gradient


class Similarity(Weighting):
    """Soft retrieval: each neighbor counts ``exp(s / T)``, where s is its similarity to the query.

    Args:
        similarity: ``cosine`` of the angle between the features, or ``euclidean``, minus the squared distance.
        temperature: T, above 0: of cosines a number, of distances in squared units of the feature. The smaller it is,
            the more the nearest neighbor decides.

    References:
        Wu et al. 2018, arXiv:1805.01978, Section 3.4 (weighted kNN, τ = .07); Caron et al. 2021, arXiv:2104.14294,
        Appendix F.1 (T = .07).

    Differences from the papers:
        Neighbors are the nearest by Euclidean distance of features that PCA has centered, and cosines are taken
        there. They vote with what the network predicts for them (one class each with ``combinations: [hard]``), and
        not with their labels. The largest similarity of each query is subtracted, which changes no vote.
    """

    def __init__(self, *, similarity: Literal["cosine", "euclidean"] = "cosine", temperature: float = 0.07) -> None:
        if similarity not in ("cosine", "euclidean"):
            raise UserError(f"Similarity has similarity: {similarity!r}; cosine and euclidean are accepted")
        if not temperature > 0:
            raise UserError(f"Similarity has temperature: {temperature}; numbers above 0 are accepted")
        self.similarity, self.temperature = similarity, temperature
        self.name = f"{similarity}(T={temperature:g})"

    def __call__(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor], nearness: Nearness) -> Tensor:
        """Return ``exp((s − max s) / T)``."""
        return self._exponents(nearness).exp()

    def lent(self, predictions: NeighborPredictions, stored: Callable[[str], Tensor], nearness: Nearness) -> Tensor:
        """Return the same with T raised, query by query, until no weight is below e⁻⁶.

        At a small T one row has all of the gradient, or, where the others' weights are 0, nobody else has one. On
        digits the soft-kNN attack leaves less with e⁻⁶ than with e⁰, or with T itself.
        """
        exponents = self._exponents(nearness)
        with torch.no_grad():
            factor = (WIDEST / -exponents.amin(dim=1, keepdim=True)).clamp(max=1)  # of all at one distance, infinite
        return (exponents * factor).exp()

    def _exponents(self, nearness: Nearness) -> Tensor:
        similarity = nearness.cosine if self.similarity == "cosine" else -nearness.squared
        return (similarity - similarity.detach().amax(dim=1, keepdim=True)) / self.temperature
