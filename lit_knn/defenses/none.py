"""No defense: the classifier itself, the line that every defense is compared with."""

from __future__ import annotations

from torch import Tensor

from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.report.results import UNDEFENDED


class NoDefense(Defense):
    """Classify the attacked image with the classifier."""

    random = False
    differentiable = True

    def requirements(self) -> Requirements:
        """Nothing but logits."""
        return Requirements(image=False)

    @property
    def variants(self) -> list[Variant]:
        """One line."""
        return [Variant(UNDEFENDED)]

    def copies(self) -> list[Defense]:
        """Nothing that a gray box does not attack."""
        return []

    def __call__(self, query: Query) -> Tensor:
        """Return the logits, ``(1, N, C)``."""
        return query.logits[None]
