"""The contract of a defense: an attacked batch in, class scores of all its variants out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor

from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.report.results import Variant


class Defense(ABC):
    """A way to classify an image that may have been attacked.

    Attributes:
        random: Whether it may draw from `lit_knn.defenses.Query.randomness`; then the seed of the run is a part
            of what its results depend on.
        draws: Random draws that one answer is made of.
        differentiable: Whether its scores have a gradient in the image, and one to follow; None of one that does not
            say, which only a `WhiteBox` that is given it tries.
        logits: Whether its scores are logits or logarithms of probabilities, of which the softmax says how sure they
            are; otherwise they say it themselves, from 0 to 1, as shares of a vote do.
    """

    random: bool = True
    draws: int = 1
    differentiable: bool | None = None
    logits: bool = True

    @property
    @abstractmethod
    def variants(self) -> list[Variant]:
        """The lines of the results table that this defense fills, in the order of its scores."""

    def requirements(self) -> Requirements:
        """Return what has to be ready before it is asked; by default the image, and nothing that has to be built."""
        return Requirements()

    @property
    def needed(self) -> dict[str, int]:
        """Largest number of neighbors wanted, by tap; empty for a defense without retrieval."""
        return dict(self.requirements().neighbors)

    @property
    def uses_image(self) -> bool:
        """Whether it looks at the image itself."""
        return self.requirements().image

    def copies(self) -> list[Defense]:
        """Return what attackers who know it attack, each with one variant and, where there can be one, a gradient.

        By default itself, if it has one variant; a `WhiteBox` that is not given a defense attacks each of them.
        """
        return [self] if len(self.variants) == 1 else []

    def agreement(self, scores: Tensor) -> Tensor:
        """Return how sure scores ``(..., C)`` are of each class, from 0 to 1 and in the same order."""
        return scores.softmax(dim=-1) if self.logits else scores

    def acceptance(self, query: Query, scores: Tensor, label: Tensor) -> Tensor | None:
        """Return how far the best wrong answer of scores ``(N, C)`` is from being rejected, ``(N,)``, above 0 if not.

        Of a copy that attackers hold; by default None, as every answer is accepted.

        Args:
            query: What the scores answer.
            scores: Those of the defense.
            label: ``(N,)`` int64, the true class, which attackers do not want to see accepted.
        """
        del query, scores, label
        return None

    @abstractmethod
    def __call__(self, query: Query) -> Tensor:
        """Return class scores ``(V, N, C)``, float; the prediction is the largest, the lowest class of equal ones."""


def most_needed(defenses: Iterable[Defense]) -> dict[str, int]:
    """Return the largest number of neighbors that any of several defenses wants, by tap."""
    needed: dict[str, int] = {}
    for defense in defenses:
        for tap, k in defense.needed.items():
            needed[tap] = max(k, needed.get(tap, 0))
    return needed
