"""An attacked batch, and what defenses may ask of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lit_knn.database.index import Neighbors
from lit_knn.database.joined_taps import features_of, read_at
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

if TYPE_CHECKING:
    from lit_knn.backbones import Change, Classifier, Tap
    from lit_knn.database import Gallery


class Seen(NamedTuple):
    """What the networks make of N images.

    Attributes:
        logits: ``(N, C)`` float, of the defended classifier.
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
        seen: What the networks make of the images; by default they are asked.
        randomness: Of the images, by their ids; None if no defense draws.
    """

    def __init__(
        self,
        image: Tensor | None,
        classifier: Classifier,
        gallery: Gallery | None = None,
        needed: Mapping[str, int] | None = None,
        seen: Seen | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._image, self._seen, self._randomness = image, seen, randomness
        self._classifier, self._gallery, self._needed = classifier, gallery, needed or {}
        self._neighbors: dict[str, Neighbors] = {}
        self._features: dict[str, Tensor] = {}
        self._of: dict[int, Query] = {}

    @property
    def image(self) -> Tensor:
        """``(N, 3, H, W)`` float32 in [0, 1].

        Raises:
            UserError: If it is not at hand any more.
        """
        if self._image is None:
            raise UserError(
                "a defense looks at the attacked images, which are at hand only for one that says so: set its "
                "uses_image to True"
            )
        return self._image

    @property
    def device(self) -> torch.device:
        """Where the batch lies."""
        return (self.seen.logits if self._image is None else self._image).device

    @property
    def ids(self) -> Tensor:
        """``(N,)`` int64, of the images: stable over runs."""
        return self._own_randomness.ids

    def randomness(self, purpose: str, draw: int = 0) -> Randomness:
        """Return a stream of random numbers for each image, from its beginning.

        It depends on the seed of the run, the image's id, and on what is given here, and so neither on the batch nor on
        the process. Attackers who ask a copy of the defense get other streams.

        Args:
            purpose: What the numbers are for.
            draw: Number of the draw for this purpose, from 0.
        """
        return self._own_randomness.of(purpose, draw)

    @property
    def _own_randomness(self) -> Randomness:
        if self._randomness is None:
            raise UserError("a defense draws random numbers for a query that was made without `randomness`")
        return self._randomness

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
            view = Query(self._image, self._classifier, gallery, self._needed, self.seen, self._randomness)
            view._features = self._features  # views share their projections
            self._of[len(gallery)] = view
        return self._of[len(gallery)]

    def evaluation(self, number: int) -> Query:
        """Return the query with the random numbers of an evaluation, counted from 0; it shares all that is known.

        These numbers are the defender's alone: attackers have purposes of their own.
        """
        evaluated = copy.copy(self)
        if self._randomness is not None:
            evaluated._randomness = self._randomness.of("evaluation", number)
        evaluated._of = {}
        return evaluated

    def knowing(self, neighbors: Mapping[str, Neighbors]) -> Query:
        """Return the query with other neighbors, by tap; it shares all else that is known."""
        other = copy.copy(self)
        other._neighbors, other._of = dict(neighbors), {}
        return other

    def know(self, neighbors: Mapping[str, Neighbors], features: Mapping[str, Tensor] | None = None) -> None:
        """Take neighbors, by tap, that have been found before, and perhaps the features that found them."""
        self._neighbors.update(neighbors)
        self._features.update(features or {})

    @cached_property
    def seen(self) -> Seen:
        """What the networks make of the images: logits and all taps in one forward pass, or in one of each network."""
        if self._seen is not None:
            return self._seen
        if not self._needed:
            return Seen(self._classifier(self.image), {})
        if self._encoder is not self._classifier:
            return Seen(self._logits, dict(self.activations))
        return Seen(*self._classifier.tapped(self.image, self._taps))

    @cached_property
    def activations(self) -> Mapping[str, Tensor]:
        """``(N, D)`` of each tap, before PCA; the pass ends at the last tap where nobody asked for `seen` before."""
        if self._seen is not None or "seen" in vars(self):
            return self.seen.activations
        return self._encoder.activations(self.image, self._taps)

    @property
    def logits(self) -> Tensor:
        """``(N, C)`` logits of the classifier; where another network gives the activations, it is not asked."""
        apart = self._seen is None and self._needed and self._encoder is not self._classifier
        return self._logits if apart else self.seen.logits

    @cached_property
    def _logits(self) -> Tensor:
        logits: Tensor = self._classifier(self.image)
        return logits

    @property
    def searches_own_features(self) -> bool:
        """Whether what is searched are features of the classifier, and not of a network beside it."""
        return self._encoder is self._classifier

    @property
    def _encoder(self) -> Classifier:
        return self.gallery.encoder(self._classifier)

    @property
    def _taps(self) -> list[Tap]:
        return read_at(self.gallery, self._needed)

    def classify(self, image: Tensor) -> Tensor:
        """Return the classifier's logits ``(N, C)`` of another image, such as one made from this batch."""
        logits: Tensor = self._classifier(image)
        return logits

    def resume(self, layer: str, change: Change) -> Tensor:
        """Return the classifier's logits ``(N, C)`` from a layer on, with what ``change`` makes of its activation.

        For a defense whose requirements name the layer, which is then known to exist before anything is attacked.
        """
        return self._classifier.resume(self.image, layer, change)

    def features(self, tap: str) -> Tensor:
        """Return ``(N, D)`` projected features, float32."""
        if tap not in self._features:
            self._features[tap] = features_of(self.gallery, tap, self.activations)
        return self._features[tap]

    def neighbors(self, tap: str) -> Neighbors:
        """Return the nearest rows, as many as the defense that wants most of them asked for."""
        if tap not in self._neighbors:
            self._neighbors[tap] = self.gallery.search(tap, self.features(tap), self._needed[tap])
        return self._neighbors[tap]
