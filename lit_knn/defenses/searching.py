"""The kNN within a defense that wraps one, however deep."""

from __future__ import annotations

from collections.abc import Iterator

from lit_knn.defenses.base import Defense
from lit_knn.defenses.neighbors.fused_knn import FusedKNN
from lit_knn.defenses.neighbors.knn import KNN
from lit_knn.defenses.neighbors.random_database import RandomDatabase
from lit_knn.defenses.rejecting import AcceptedAnswer


def layers(defense: Defense) -> Iterator[Defense]:
    """Yield a defense, and then what it asks for its answer: of a random part of the rows, or that may be rejected."""
    yield defense
    while isinstance(defense, RandomDatabase | AcceptedAnswer):
        yield (defense := defense.defense)


def searching(defense: Defense) -> KNN | FusedKNN | None:
    """Return the kNN that a defense answers by, at one tap or at several together; None of one that has none."""
    *_, last = layers(defense)
    return last if isinstance(last, KNN | FusedKNN) else None
