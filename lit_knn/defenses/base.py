"""The contract of a defense: an attacked batch in, class scores of all its variants out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from lit_knn.errors import UserError
from lit_knn.index import Neighbors

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier
    from lit_knn.database import Database


class Variant(NamedTuple):
    """One line of the results: a defense and what distinguishes its variants."""

    defense: str
    tap: str = ""
    k: int | str = ""
    weighting: str = ""
    combination: str = ""


class Query:
    """An attacked batch and what defenses want to know of it, each computed when first asked for, and once.

    Args:
        image: ``(N, 3, H, W)`` float32 in [0, 1].
        classifier: The defended classifier.
        database: Where neighbours come from; None if no defense asks for any.
        needed: Largest number of neighbours that any defense wants, by tap.
    """

    def __init__(
        self,
        image: Tensor,
        classifier: Classifier,
        database: Database | None = None,
        needed: Mapping[str, int] | None = None,
    ) -> None:
        self.image = image
        self._classifier, self._database, self._needed = classifier, database, needed or {}
        self._neighbors: dict[str, Neighbors] = {}

    @property
    def database(self) -> Database:
        """The opened database.

        Raises:
            UserError: If the configuration has none.
        """
        if self._database is None:
            raise UserError("a defense asks for neighbours, but the configuration has no model.database")
        return self._database

    @cached_property
    def _forward(self) -> tuple[Tensor, dict[str, Tensor]]:
        if not self._needed:
            return self._classifier(self.image), {}
        return self.database.features(self._classifier, self.image, self._needed)

    @property
    def logits(self) -> Tensor:
        """``(N, C)`` logits of the classifier."""
        return self._forward[0]

    def features(self, tap: str) -> Tensor:
        """Return ``(N, D)`` projected features, float32."""
        return self._forward[1][tap]

    def neighbors(self, tap: str) -> Neighbors:
        """Return the nearest rows, as many as the defense that wants most of them asked for."""
        if tap not in self._neighbors:
            self._neighbors[tap] = self.database.search(tap, self.features(tap), self._needed[tap])
        return self._neighbors[tap]


class Defense(ABC):
    """A way to classify an image that may have been attacked."""

    @property
    @abstractmethod
    def variants(self) -> list[Variant]:
        """The lines of the results table that this defense fills, in the order of its scores."""

    @property
    def needed(self) -> dict[str, int]:
        """Largest number of neighbours wanted, by tap; empty for a defense without retrieval."""
        return {}

    @abstractmethod
    def __call__(self, query: Query) -> Tensor:
        """Return class scores ``(V, N, C)``, float; the prediction is the largest, the lowest class of equal ones."""
