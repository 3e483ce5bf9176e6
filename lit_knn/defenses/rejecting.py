"""A defense that refuses to answer what it is not sure of."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.neighbors.fused_knn import FusedKNN
from lit_knn.defenses.neighbors.knn import KNN
from lit_knn.defenses.neighbors.remoteness import remoteness
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.defenses.thresholds import Thresholds
from lit_knn.errors import UserError
from lit_knn.report.results import REJECTED

ROUNDING = 1e-6  # of a threshold, such as all of the votes, that shares which add up to it may miss
Confidence = Literal["agreement", "distance"]


class Rejecting(Defense):
    """Let another defense answer, and reject images whose answer is not sure enough: neighbors disagree, or are far.

    Each answer has two lines. With ``rejected: wrong`` an image counts as right only if it is answered, and rightly;
    with ``rejected: right`` it also counts if it is rejected. The second, of attacked images, is the robust accuracy of
    a defense that detects (Tramèr 2022): an attack has succeeded if the answer is wrong and not rejected. It says
    nothing without the first one of clean images, as who rejects everything has all of it. Together they give the
    coverage, the share of images that are answered: ``wrong + 1 − right``.

    An answer is rejected if its confidence is below a threshold: the one that is given, or the one above which lie a
    share ``keep`` of rows of the database, each left out among its own neighbors. As the network may have been trained
    on these, fewer clean images may be answered than ``keep``: the coverage says how many are.

    White boxes attack a copy for each ``keep`` by the smaller of two margins: that of a wrong answer, and that of the
    confidence over the threshold, in one unit (see `SoftKNN`).

    Cost:
        That of the other defense.

    Args:
        defense: Who answers: `KNN` or `FusedKNN`, or any other one if a threshold is given.
        confidence: ``agreement`` is how sure the answer is, from 0 to 1: the share of the vote of neighbors, the
            credibility of `DeepKNN`, and of networks the largest softmax probability, over draws that of their mean.
            ``distance`` is minus the mean distance to the K neighbors; of several taps the mean over them, in lengths
            of their features.
        keep: Shares of rows that are to be answered, above 0 and up to 1.
        threshold: Least confidence of an answer, in place of ``keep``: of ``agreement`` above 0 and up to 1, of
            ``distance``, where it is minus the largest distance, below 0.
        rows: Number of rows of the database that thresholds are found with; all, if there are fewer.
        seed: Of their choice, at least 0.

    References:
        Tramèr 2022, "Detecting adversarial examples is (nearly) as hard as classifying them", arXiv:2107.11630,
        Section 2, robust accuracy of a detector; Geifman and El-Yaniv 2017, arXiv:1705.08500, Section 2, coverage;
        Hendrycks and Gimpel 2017, arXiv:1610.02136, the largest softmax probability.
    """

    def __init__(
        self,
        *,
        defense: Defense,
        confidence: Confidence = "agreement",
        keep: list[float] = [0.95],  # noqa: B006 - never changed
        threshold: float | None = None,
        rows: int = 1000,
        seed: int = 0,
    ) -> None:
        if not keep or len(set(keep)) < len(keep) or not all(0 < share <= 1 for share in keep) or rows < 1 or seed < 0:
            raise UserError(
                f"Rejecting has keep: {keep}, rows: {rows}, seed: {seed}; different shares above 0 and up to 1, rows "
                "from 1 and seeds from 0 are accepted"
            )
        if confidence not in ("agreement", "distance"):
            raise UserError(f"Rejecting has confidence: {confidence!r}; agreement and distance are accepted")
        if isinstance(defense, Rejecting | AcceptedAnswer):
            raise UserError("Rejecting has defense: a defense that rejects; one that always answers is accepted")
        if not isinstance(defense, KNN | FusedKNN) and (threshold is None or confidence == "distance"):
            raise UserError(
                f"Rejecting has defense: {type(defense).__name__}, which takes a threshold of its agreement; KNN and "
                "FusedKNN have others"
            )
        if threshold is not None and not (0 < threshold <= 1 if confidence == "agreement" else threshold < 0):
            accepted = {"agreement": "shares above 0 and up to 1", "distance": "minus a distance, numbers below 0,"}
            raise UserError(
                f"Rejecting has threshold: {threshold:g} of {confidence}; {accepted[confidence]} are accepted"
            )
        self.defense, self.confidence, self.threshold = defense, confidence, threshold
        self.keep: list[float | str] = [""] if threshold is not None else [float(share) for share in keep]
        self.thresholds = Thresholds(defense, self.confident, confidence, rows, seed) if threshold is None else None
        self.random, self.differentiable, self.draws = defense.random, defense.differentiable, defense.draws

    @property
    def variants(self) -> list[Variant]:
        """For each of the defense's, one of each ``keep`` and of what a rejected image is taken for."""
        return [
            variant._replace(rejected=rejected)
            for keep in self.keep
            for variant in self._named(keep)
            for rejected in REJECTED
        ]

    def _named(self, keep: float | str) -> list[Variant]:
        below = "" if self.threshold is None else f" {self.threshold:g}"
        name = f"rejecting by {self.confidence}{below},"
        return [variant._replace(defense=f"{name} {variant.defense}", keep=keep) for variant in self.defense.variants]

    def requirements(self) -> Requirements:
        """Those of the defense, and thresholds."""
        required = self.defense.requirements()
        found = [] if self.thresholds is None else [self.thresholds]
        return replace(required, resources=[*required.resources, *found])

    def confident(self, query: Query, scores: Tensor) -> Tensor:
        """Return the confidence of answers with scores ``(V, N, C)``: ``(V, N)``, the higher the surer."""
        if self.confidence == "agreement" or not isinstance(self.defense, KNN | FusedKNN):
            return self.defense.agreement(scores).amax(dim=2)
        return -remoteness(self.defense, query)

    def limits(self, keep: float | str) -> list[float]:
        """Return the threshold of each of the defense's V variants."""
        if self.thresholds is None or isinstance(keep, str):
            return [float(self.threshold or 0)] * len(self.defense.variants)
        return self.thresholds.at(keep)

    def copies(self) -> list[Defense]:
        """Return one for each ``keep`` around each copy of the defense whose variant is one of it, and all others.

        Those stand in for a defense, such as the vote for `DeepKNN`: what is far on the wrong side there is accepted.
        """
        variants, copies = self.defense.variants, self.defense.copies()
        own = [copy for copy in copies if copy.variants[0] in variants]
        shares = [keep if isinstance(keep, float) else None for keep in self.keep]
        accepted = [AcceptedAnswer(rejecting=self, defense=copy, keep=keep) for keep in shares for copy in own]
        return [*accepted, *(copy for copy in copies if copy not in own)]

    def __call__(self, query: Query) -> Tensor:
        """Return scores ``(V, N, C)``, of rejected images all −∞, which never are right, or all ∞, which always are."""
        scores = self.defense(query)  # (v, N, C)
        confidence = self.confident(query, scores)  # (v, N)
        lines = []
        for keep in self.keep:
            limits = torch.tensor(self.limits(keep), dtype=confidence.dtype).to(confidence.device)
            limits -= ROUNDING * limits.abs()
            rejected = (confidence < limits[:, None])[..., None]  # (v, N, 1)
            both = [scores.masked_fill(rejected, value) for value in (-torch.inf, torch.inf)]
            lines.append(torch.stack(both, dim=1).flatten(0, 1))
        return torch.cat(lines)


class AcceptedAnswer(Defense):
    """What attackers copy of a defense that rejects: its scores, and how far they are from being rejected.

    Cost:
        That of the defense that answers.

    Args:
        rejecting: What is copied.
        defense: A copy of the defense that answers, with one of its variants; by default its first one.
        keep: Which share, of several; the first one by default.
    """

    def __init__(self, *, rejecting: Rejecting, defense: Defense | None = None, keep: float | None = None) -> None:
        self.rejecting, self.defense = rejecting, defense or rejecting.defense.copies()[0]
        self.keep = rejecting.keep[0] if keep is None else keep
        known = rejecting.defense.variants
        if self.keep not in rejecting.keep or len(self.defense.variants) != 1 or self.defense.variants[0] not in known:
            given = ", ".join(map(str, self.defense.variants))
            raise UserError(
                f"AcceptedAnswer has keep: {keep}, defense: {given}; one share and one variant of the defense that "
                "rejects are accepted"
            )
        self.random, self.differentiable = self.defense.random, self.defense.differentiable
        self.draws, self.logits = self.defense.draws, self.defense.logits
        self._place = known.index(self.defense.variants[0])

    @property
    def variants(self) -> list[Variant]:
        """One, of no line of the results: what it says of an image is not all, so that no attack may end with it."""
        return [self.rejecting._named(self.keep)[self._place]]

    def requirements(self) -> Requirements:
        """Those of the defense, and thresholds."""
        required, found = self.defense.requirements(), self.rejecting.requirements().resources
        return replace(required, resources=found)

    def acceptance(self, query: Query, scores: Tensor, label: Tensor) -> Tensor:
        """Return how far the confidence is above the threshold, as a share of it, ``(N,)``."""
        confident = self.defense.agreement(scores).scatter(1, label[:, None], -torch.inf).amax(dim=1)
        if self.rejecting.confidence == "distance" and isinstance(self.defense, KNN | FusedKNN):
            confident = -remoteness(self.defense, query)[0]
        return (confident - self.limit) / max(abs(self.limit), 1e-12)

    @property
    def limit(self) -> float:
        """The threshold of its confidence."""
        return self.rejecting.limits(self.keep)[self._place]

    def __call__(self, query: Query) -> Tensor:
        """Return the scores of the defense, ``(1, N, C)``, whether or not they are accepted."""
        return self.defense(query)
