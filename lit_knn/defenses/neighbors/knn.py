"""The paper's defense: classify the neighbors instead of the image."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from lit_knn.database.joined_taps import joined_among
from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.neighbors.nearness import Nearness
from lit_knn.defenses.neighbors.vote import coefficients, hard, soft
from lit_knn.defenses.neighbors.weighting import CBWD, CBWE, UW, Weighting
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.errors import UserError
from lit_knn.report.results import preferred

COMBINE = {"soft": soft, "hard": hard}


class KNN(Defense):
    """Weighted average of the predictions of the K nearest rows of the database.

    One search at the largest K serves every combination of the lists below.

    Args:
        taps: Names of taps of ``model.database``; one set of neighbors for each.
        k: Numbers of neighbors.
        weightings: How much each neighbor counts; by default UW, CBW-E and CBW-D as in the paper.
        combinations: ``soft`` averages softmax vectors, ``hard`` counts votes.

    References:
        Dubey et al. 2019, Section 4 and Appendix C.
    """

    random = False
    differentiable = False
    logits = False

    def __init__(
        self,
        *,
        taps: list[str],
        k: list[int] = [50],  # noqa: B006 - never changed; jsonargparse prints it as the default
        weightings: list[Weighting] | None = None,
        combinations: list[Literal["soft", "hard"]] = ["soft"],  # noqa: B006
    ) -> None:
        for name, values in (("taps", taps), ("k", k), ("combinations", combinations)):
            if not values or len(set(values)) < len(values):
                raise UserError(f"KNN takes a list of different {name}, at least one, not {values}")
        if min(k) < 1:
            raise UserError(f"KNN takes numbers of neighbors from 1, not {min(k)}")
        self.taps, self.k, self.combinations = taps, sorted(k), combinations
        self.weightings = weightings or [UW(), CBWE(), CBWD()]

    @property
    def variants(self) -> list[Variant]:
        """Tap by tap, then combination by combination, K by K, weighting by weighting."""
        return [
            Variant("kNN", tap, k, weighting.name, combination)
            for tap, combination, k, weighting in product(self.taps, self.combinations, self.k, self.weightings)
        ]

    def requirements(self) -> Requirements:
        """The largest K, for each tap."""
        neighbors = dict.fromkeys(self.taps, max(self.k))
        return Requirements(neighbors=neighbors, image=False, joined=joined_among(self.taps))

    def copies(self) -> list[Defense]:
        """Return for each tap the variants that the results put first, one of each `Variant.family`."""
        return [copy for tap in self.taps for copy in self.headlines(tap)]

    def headlines(self, tap: str) -> list[KNN]:
        """Return the variants of one tap that the results put first, one of each family."""
        first: dict[tuple[str, str, str], Variant] = {}
        for variant in preferred([variant for variant in self.variants if variant.tap == tap]):
            first.setdefault(variant.family, variant)
        return [
            KNN(
                taps=[tap],
                k=[int(variant.k)],
                weightings=[weighting for weighting in self.weightings if weighting.name == variant.weighting][:1],
                combinations=[combination for combination in self.combinations if combination == variant.combination],
            )
            for variant in first.values()
        ]

    def on(self, tap: str) -> KNN:
        """Return the same on one tap only."""
        return KNN(taps=[tap], k=self.k, weightings=self.weightings, combinations=self.combinations)

    def alike(self, variant: Variant) -> list[KNN]:
        """Return the same with the weightings of a variant's family only; none if it has none of them."""
        kinds = {weighting: Variant("", weighting=weighting.name).kind for weighting in self.weightings}
        chosen = [weighting for weighting, kind in kinds.items() if kind == variant.kind]
        return [KNN(taps=self.taps, k=self.k, weightings=chosen, combinations=self.combinations)] if chosen else []

    def __call__(self, query: Query) -> Tensor:
        """Return scores ``(V, N, C)`` in the order of ``variants``."""
        return torch.cat([scores for tap in self.taps for scores in self._votes(query, tap)])

    def _votes(self, query: Query, tap: str) -> Iterator[Tensor]:
        """Yield the scores ``(k·W, N, C)`` of each combination."""
        ids, distances = (part[:, : max(self.k)] for part in query.neighbors(tap))  # (N, K)
        predictions = query.gallery.predictions(ids)
        stored = partial(query.gallery.weights, ids=ids)
        nearness = Nearness(lambda: query.features(tap), lambda: query.gallery.vectors(tap, ids), distances)
        each = (weighting(predictions, stored, nearness) for weighting in self.weightings)
        weights = torch.stack([weight.to(predictions.probability) for weight in each])  # (W, N, K)
        shares = coefficients(weights, self.k)  # (k·W, N, K)
        for combination in self.combinations:
            yield COMBINE[combination](shares, predictions)
