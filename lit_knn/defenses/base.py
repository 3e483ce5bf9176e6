"""The contract of a defense: an attacked batch in, class scores of all its variants out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lit_knn.database.index import Neighbors
from lit_knn.errors import UserError
from lit_knn.report.results.variant import Variant

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier
    from lit_knn.database import Gallery


class Seen(NamedTuple):
    """What the defended classifier makes of N images.

    Attributes:
        logits: ``(N, C)`` float.
        activations: ``(N, D)`` float of each tap by name, pooled, before PCA: the same for any database.
    """

    logits: Tensor
    activations: dict[str, Tensor]


class Query:
    """An attacked batch and what defenses want to know of it, each computed when first asked for, and once.

    Args:
        image: ``(N, 3, H, W)`` float32 in [0, 1]; None if only ``seen`` has been kept.
        classifier: The defended classifier.
        gallery: Where neighbors come from; None if no defense asks for any.
        needed: Largest number of neighbors that any defense wants, by tap.
        seen: What the classifier makes of the images; by default it is asked.
    """

    def __init__(
        self,
        image: Tensor | None,
        classifier: Classifier,
        gallery: Gallery | None = None,
        needed: Mapping[str, int] | None = None,
        seen: Seen | None = None,
    ) -> None:
        self._image, self._seen = image, seen
        self._classifier, self._gallery, self._needed = classifier, gallery, needed or {}
        self._neighbors: dict[str, Neighbors] = {}
        self._features: dict[str, Tensor] = {}
        self._of: dict[int, Query] = {}

    @property
    def image(self) -> Tensor:
        """``(N, 3, H, W)`` float32 in [0, 1].

        Raises:
            UserError: If the cache has not kept it.
        """
        if self._image is None:
            raise UserError(
                "a defense looks at the attacked images, which are not cached: set model.cache.images: true"
            )
        return self._image

    @property
    def device(self) -> torch.device:
        """Where the batch lies."""
        return (self.seen.logits if self._image is None else self._image).device

    @property
    def gallery(self) -> Gallery:
        """The opened database.

        Raises:
            UserError: If the configuration has none.
        """
        if self._gallery is None:
            raise UserError("a defense asks for neighbors, but the configuration has no model.database")
        return self._gallery

    def of(self, gallery: Gallery) -> Query:
        """Return the query for the same images, with the neighbors that a smaller view of its gallery has."""
        if gallery is self._gallery:
            return self
        if len(gallery) not in self._of:
            view = Query(self._image, self._classifier, gallery, self._needed, self.seen)
            view._features = self._features  # views share their projections
            self._of[len(gallery)] = view
        return self._of[len(gallery)]

    @cached_property
    def seen(self) -> Seen:
        """What the classifier makes of the images, logits and all taps in one forward pass."""
        if self._seen is not None:
            return self._seen
        if not self._needed:
            return Seen(self._classifier(self.image), {})
        return Seen(*self._classifier.tapped(self.image, [self.gallery.tap(name) for name in self._needed]))

    @cached_property
    def activations(self) -> Mapping[str, Tensor]:
        """``(N, D)`` of each tap, before PCA; the pass ends at the last tap where nobody has asked for `seen` before."""
        if self._seen is not None or "seen" in vars(self):
            return self.seen.activations
        return self._classifier.activations(self.image, [self.gallery.tap(name) for name in self._needed])

    @property
    def logits(self) -> Tensor:
        """``(N, C)`` logits of the classifier."""
        return self.seen.logits

    def classify(self, image: Tensor) -> Tensor:
        """Return the classifier's logits ``(N, C)`` of another image, such as one made from this batch."""
        logits: Tensor = self._classifier(image)
        return logits

    def features(self, tap: str) -> Tensor:
        """Return ``(N, D)`` projected features, float32."""
        if tap not in self._features:
            self._features[tap] = self.gallery.project(tap, self.activations[tap])
        return self._features[tap]

    def neighbors(self, tap: str) -> Neighbors:
        """Return the nearest rows, as many as the defense that wants most of them asked for."""
        if tap not in self._neighbors:
            self._neighbors[tap] = self.gallery.search(tap, self.features(tap), self._needed[tap])
        return self._neighbors[tap]


class Defense(ABC):
    """A way to classify an image that may have been attacked.

    Attributes:
        uses_image: Whether it looks at the image itself, and not only at logits, features and neighbors.
    """

    uses_image: bool = True

    @property
    @abstractmethod
    def variants(self) -> list[Variant]:
        """The lines of the results table that this defense fills, in the order of its scores."""

    @property
    def needed(self) -> dict[str, int]:
        """Largest number of neighbors wanted, by tap; empty for a defense without retrieval."""
        return {}

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
