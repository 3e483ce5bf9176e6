"""A query that is kept with its neighbors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lit_knn.backbones import Classifier
from lit_knn.database.index import Neighbors
from lit_knn.defenses import Query, Seen
from lit_knn.randomness import Randomness

if TYPE_CHECKING:
    from lit_knn.database import StoredGallery


class LookedUp(Query):
    """A query whose neighbors have been found.

    Args:
        logits: ``(N, C)``.
        features: ``(N, D)`` by tap.
        neighbors: By tap, for each of the views.
        classifier: The defended one.
        views: Galleries; the query is of the last one.
        randomness: Of the images.
    """

    def __init__(
        self,
        logits: Tensor,
        features: dict[str, Tensor],
        neighbors: Sequence[dict[str, Neighbors]],
        classifier: Classifier,
        views: Sequence[StoredGallery],
        randomness: Randomness | None = None,
    ) -> None:
        *smaller, gallery = views
        super().__init__(None, classifier, gallery, seen=Seen(logits, {}), randomness=randomness)
        self._features, self._neighbors = features, neighbors[-1]
        self._of = {
            len(view): LookedUp(logits, features, [found], classifier, [view], randomness)
            for view, found in zip(smaller, neighbors[:-1], strict=True)
        }
