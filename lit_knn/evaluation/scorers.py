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
    """

    defense: Defense
    gallery: Gallery | None
    seed: int = 0

    @cached_property
    def column(self) -> str:
        """What the activation cache calls its scores, as it looks at the image; "" for others, which are asked anew.

        A hash of what the defense is, of its database, and of the seed if it draws.
        """
        if not self.defense.uses_image:
            return ""
        database = None if self.gallery is None else self.gallery.identity()
        return SCORES + digest([describe(self.defense), database, self.seed if self.defense.random else None])

    def __call__(self, query: Query) -> Tensor:
        """Return class scores ``(V, N, C)``, float."""
        return self.defense(query if self.gallery is None else query.of(self.gallery))

    @property
    def variants(self) -> list[Variant]:
        """The V lines of the results that it fills; databases are told by their rows."""
        variants = self.defense.variants
        return variants if self.gallery is None else [line._replace(rows=len(self.gallery)) for line in variants]


def scorers(defenses: Sequence[Defense], views: Sequence[Gallery], seed: int = 0) -> list[Scorer]:
    """Return each defense, a retrieval once for each of several databases; the seed is that of defenses that draw."""
    return [Scorer(defense, view, seed) for defense in defenses for view in (views if defense.needed else [None])]
