"""How far neighbors are, of each variant of a kNN."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.database import joined
from lit_knn.defenses.neighbors.fused_knn import FusedKNN
from lit_knn.defenses.neighbors.knn import KNN
from lit_knn.defenses.query import Query


def searched_by(defense: KNN | FusedKNN) -> list[tuple[list[str], int]]:
    """Return the taps that each variant searches, and its K."""
    if isinstance(defense, KNN):
        return [([variant.tap], int(variant.k)) for variant in defense.variants]
    beside = [joined(defense.taps)]
    features = "fused features"
    return [(beside if one.defense == features else defense.taps, int(one.k)) for one in defense.variants]


def remoteness(defense: KNN | FusedKNN, query: Query) -> Tensor:
    """Return the mean distance to the K neighbors of each variant, ``(V, N)`` float32.

    At one tap in units of its features; of several the mean over them, each in lengths of its features.
    """
    known: dict[tuple[str, int], Tensor] = {}

    def at(tap: str, k: int) -> Tensor:
        if (tap, k) not in known:
            known[tap, k] = query.neighbors(tap).distances[:, :k].mean(dim=1)
        return known[tap, k]

    lines = []
    for taps, k in searched_by(defense):
        several = len(taps) > 1
        lines.append(sum(at(tap, k) * (query.gallery.factor(tap) if several else 1) for tap in taps) / len(taps))
    return torch.stack(lines)  # type: ignore[arg-type]
