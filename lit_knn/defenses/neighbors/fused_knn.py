"""Nearest neighbors at several taps together."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from lit_knn.database.joined_taps import joined, joined_among, side_by_side
from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.neighbors.knn import COMBINE, KNN
from lit_knn.defenses.neighbors.nearness import Nearness
from lit_knn.defenses.neighbors.vote import coefficients
from lit_knn.defenses.neighbors.weighting import Weighting
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.errors import UserError

Fusion = Literal["votes", "neighbors", "features"]
FUSIONS: tuple[Fusion, ...] = ("votes", "neighbors", "features")


class FusedKNN(Defense):
    """One answer from the neighbors at several taps, where a kNN has one for each tap.

    - ``votes``: the scores of the kNN at each tap, averaged.
    - ``neighbors``: the union of the K nearest rows of each tap, a row once however often it was found, so that K to
      K times the number of taps vote. Weightings that go by the distance take that of the features side by side.
    - ``features``: the K rows nearest in the features of all taps side by side, each divided by its root mean square
      length over the database (see `lit_knn.database.joined_taps`), so that squared distances add up.

    Features side by side are not stored. An exact index searches them as those of any tap; for an approximate one
    ``lit-knn index`` builds an index of its own over them, whose recall is measured and told as that of any other. The
    unions and averages of what approximate indexes find at each tap have the recall of these.

    Cost:
        One forward pass and a search at each tap; ``features`` one search in as many dimensions as all taps have.

    Args:
        taps: Names of taps of ``model.database``, at least two.
        fusion: One or more of the above, each with lines of its own.
        k: Numbers of neighbors, of each tap with ``votes`` and ``neighbors``.
        weightings: How much each neighbor counts; by default UW, CBW-E and CBW-D.
        combinations: ``soft`` averages softmax vectors, ``hard`` counts votes.

    References:
        Dubey et al. 2019, Section 4 and Appendix C, for a single tap. Papernot and McDaniel 2018, arXiv:1803.04765,
        Section IV, count the neighbors of all layers.
    """

    random = False
    differentiable = False
    logits = False

    def __init__(
        self,
        *,
        taps: list[str],
        fusion: list[Fusion] = list(FUSIONS),  # noqa: B006 - never changed
        k: list[int] = [50],  # noqa: B006
        weightings: list[Weighting] | None = None,
        combinations: list[Literal["soft", "hard"]] = ["soft"],  # noqa: B006
    ) -> None:
        if (
            len({*taps}) < max(2, len(taps))
            or not fusion
            or len(set(fusion)) < len(fusion)
            or not {*fusion} <= {*FUSIONS}
        ):
            raise UserError(
                f"FusedKNN has taps: {taps}, fusion: {fusion}; two different taps or more and different ones of "
                f"{', '.join(FUSIONS)} are accepted"
            )
        self._apart = KNN(taps=taps, k=k, weightings=weightings, combinations=combinations)
        self.taps, self.fusion, self.tap = taps, fusion, joined(taps)
        self.k, self.weightings, self.combinations = self._apart.k, self._apart.weightings, combinations
        self._beside = self._apart.on(self.tap)

    @property
    def variants(self) -> list[Variant]:
        """Fusion by fusion, then as a kNN."""
        lines = product(self.fusion, self._beside.variants)
        return [variant._replace(defense=f"fused {fusion}") for fusion, variant in lines]

    def requirements(self) -> Requirements:
        """The largest K, at each tap or at all side by side."""
        searched = [tap for tap in self.taps if {*self.fusion} & {"votes", "neighbors"}]
        neighbors = dict.fromkeys([*searched, *[self.tap] * ("features" in self.fusion)], max(self.k))
        return Requirements(neighbors=neighbors, image=False, joined=joined_among(neighbors))

    def copies(self) -> list[Defense]:
        """Return for each fusion the variants that the results put first, one of each `Variant.family`."""
        return [self._of(first, [fusion]) for fusion in self.fusion for first in self._beside.headlines(self.tap)]

    def by(self, fusion: Fusion) -> FusedKNN:
        """Return the same with one fusion only."""
        return self._of(self._beside, [fusion])

    def alike(self, variant: Variant) -> list[FusedKNN]:
        """Return the same with the weightings of a variant's family only; none if it has none of them."""
        return [self._of(vote, self.fusion) for vote in self._beside.alike(variant)]

    def _of(self, vote: KNN, fusion: list[Fusion]) -> FusedKNN:
        return FusedKNN(
            taps=self.taps, fusion=fusion, k=vote.k, weightings=vote.weightings, combinations=vote.combinations
        )

    def __call__(self, query: Query) -> Tensor:
        """Return scores ``(V, N, C)`` in the order of ``variants``."""
        return torch.cat([scores for fusion in self.fusion for scores in self._scores(fusion, query)])

    def _scores(self, fusion: Fusion, query: Query) -> Iterator[Tensor]:
        if fusion == "features":
            yield self._beside(query)
        elif fusion == "votes":
            yield self._apart(query).unflatten(0, (len(self.taps), -1)).mean(dim=0)
        else:
            yield from self._of_union(query)

    def _of_union(self, query: Query) -> Iterator[Tensor]:
        """Yield the scores ``(k·W, N, C)`` of each combination."""
        gallery, most = query.gallery, max(self.k)
        ids = torch.stack([query.neighbors(tap).ids[:, :most] for tap in self.taps], dim=1)  # (N, T, K)
        nearest = torch.arange(most, device=ids.device)
        members = torch.stack([first_of_each(ids, nearest < k) for k in self.k])  # (k, N, T·K)
        ids = ids.flatten(1)
        predictions, stored = gallery.predictions(ids), partial(gallery.weights, ids=ids)
        nearness = Nearness(
            lambda: side_by_side(gallery, {tap: query.features(tap) for tap in self.taps}),
            lambda: side_by_side(gallery, {tap: gallery.vectors(tap, ids) for tap in self.taps}),
        )
        each = (weighting(predictions, stored, nearness) for weighting in self.weightings)
        weights = torch.stack([weight.to(predictions.probability) for weight in each])  # (W, N, T·K)
        shares = torch.cat([coefficients(weights, [ids.shape[1]], among=among) for among in members])
        for combination in self.combinations:
            yield COMBINE[combination](shares, predictions)


def first_of_each(ids: Tensor, counted: Tensor) -> Tensor:
    """Return where each row is named for the first time, ``(N, T·K)`` bool.

    Args:
        ids: ``(N, T, K)`` int64, rows.
        counted: ``(K,)`` bool, which of the K count at all.
    """
    counts = counted.expand_as(ids).flatten(1)
    ids = ids.flatten(1).masked_fill(~counts, -1)
    order = ids.argsort(dim=1, stable=True)
    ordered = ids.gather(1, order)
    new = torch.ones_like(counts)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.zeros_like(counts).scatter(1, order, new) & counts
