"""What a defense needs beyond the classifier's logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lit_knn.database.resource import Resource

if TYPE_CHECKING:
    from lit_knn.backbones import Classifier


@dataclass(frozen=True)
class Requirements:
    """What an evaluation has ready for a defense before it asks.

    Args:
        neighbors: Largest number of neighbors wanted, by tap.
        image: Whether it looks at the image itself, and not only at logits, features and neighbors.
        labels: Whether it goes by the true classes of rows, which a database may not have.
        layers: Where it lets the classifier go on with other activations, see `lit_knn.defenses.Query.resume`.
        networks: Other networks that it asks, which are then on the device, and have been tried on a first batch.
        joined: Taps side by side that are searched, see `lit_knn.database.joined_taps`.
        resources: What has to be built from the database besides the store and its indexes, by ``lit-knn index``.
    """

    neighbors: Mapping[str, int] = field(default_factory=dict)
    image: bool = True
    labels: bool = False
    layers: Sequence[str] = ()
    networks: Sequence[Classifier] = ()
    joined: Sequence[str] = ()
    resources: Sequence[Resource] = ()

    @property
    def database(self) -> bool:
        """Whether a database has to be open."""
        return bool(self.neighbors or self.labels or self.resources)
