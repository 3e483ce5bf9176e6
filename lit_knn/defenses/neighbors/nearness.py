"""How near neighbors are, for weightings that go by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor


class Nearness:
    """How near K rows are to each of N queries, each measure computed when first asked for.

    Measures have gradients in the features if these have, but for distances that are given.

    Args:
        features: Gives the features of the queries, ``(N, D)`` float.
        vectors: Gives those of the rows, ``(N, K, D)`` float.
        distances: ``(N, K)`` float, Euclidean, if they are known.
    """

    def __init__(
        self, features: Callable[[], Tensor], vectors: Callable[[], Tensor], distances: Tensor | None = None
    ) -> None:
        self._features, self._vectors, self._distances = features, vectors, distances

    @cached_property
    def squared(self) -> Tensor:
        """Squared Euclidean distances ``(N, K)`` in squared units of the features."""
        if self._distances is not None:
            return self._distances.square()
        return (self._features()[:, None] - self._vectors()).square().sum(dim=2)

    @cached_property
    def cosine(self) -> Tensor:
        """Cosines ``(N, K)`` of the angles between features, in [−1, 1]; 0 where one has no length."""
        features, vectors = self._features(), self._vectors()
        vectors = vectors.to(features)
        # sums of products, and no matrix product: the same to the bit for one query as for many
        product = (features[:, None] * vectors).sum(dim=2)
        lengths = features.norm(dim=1, keepdim=True) * vectors.norm(dim=2)  # (N, K)
        there = lengths > 0
        return torch.where(there, product / torch.where(there, lengths, 1), 0).clamp(-1, 1)
