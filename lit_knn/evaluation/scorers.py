"""Each defense with each database that it answers from: the lines of the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lit_knn.database import Gallery
from lit_knn.defenses import Defense, Query, Variant
from lit_knn.evaluation.cache.batch import SCORES
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import digest


@dataclass(frozen=True)
class Scorer:
    """A defense and the database that it answers from.

    Attributes:
        defense: Has V variants.
        gallery: Of one size; None for a defense without retrieval.
        seed: Of defenses that draw random numbers.
        evaluations: How often each query is evaluated, with other random numbers each time: 1 where none are drawn.
    """

    defense: Defense
    gallery: Gallery | None
    seed: int = 0
    evaluations: int = 1

    @cached_property
    def columns(self) -> list[str]:
        """What the activation cache calls the scores of each evaluation, as the defense looks at the image.

        A hash of what the defense is, of its database, and if it draws of seed and number of the evaluation. None of a
        defense that does not look, which is asked anew.
        """
        if not self.defense.uses_image:
            return []
        known = [describe(self.defense), None if self.gallery is None else self.gallery.identity()]
        drawn = [[self.seed, number] if self.defense.random else None for number in range(self.evaluations)]
        return [SCORES + digest([*known, numbers]) for numbers in drawn]

    def __call__(self, query: Query, evaluation: int = 0) -> Tensor:
        """Return class scores ``(V, N, C)``, float, with the random numbers of an evaluation, counted from 0."""
        query = query if self.gallery is None else query.of(self.gallery)
        return self.defense(query.evaluation(evaluation) if self.defense.random else query)

    @property
    def variants(self) -> list[Variant]:
        """The lines of the results that it fills, for each of V variants one or one of each protocol.

        Databases are told by their rows.
        """
        variants = self.defense.variants
        if self.gallery is not None:
            variants = [variant._replace(rows=len(self.gallery)) for variant in variants]
        return [line for variant in variants for line in variant.evaluated(self.evaluations)]


def scorers(defenses: Sequence[Defense], views: Sequence[Gallery], seed: int = 0, evaluations: int = 1) -> list[Scorer]:
    """Return each defense, a retrieval once for each of several databases.

    Seed and number of evaluations are those of defenses that draw; all others are evaluated once.
    """
    return [
        Scorer(defense, view, seed, evaluations if defense.random else 1)
        for defense in defenses
        for view in (views if defense.needed else [None])
    ]


def cautions(scorers: Sequence[Scorer]) -> list[str]:
    """Return a sentence about the defenses that draw and are evaluated once, as if they did not; none without them."""
    once = [scorer.defense for scorer in scorers if scorer.defense.random and scorer.evaluations == 1]
    names = list(dict.fromkeys(defense.variants[0].defense for defense in once))
    if not names:
        return []
    who = f"defense {names[0]} answers" if len(names) == 1 else f"{len(names)} defenses ({', '.join(names)}) answer"
    once_each = "at random, and each query is evaluated once: set model.evaluations to 10, say, for mean and worst"
    return [f"{who} {once_each}"]
