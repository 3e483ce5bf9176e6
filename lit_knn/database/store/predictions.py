"""What neighbors predict: between the store that knows it and the defenses that count it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.database.store.softmax import LISTED


class NeighborPredictions(NamedTuple):
    """What the K nearest neighbors of N queries predict, nearest first.

    Attributes:
        probability: ``(N, K, R)`` float32; R = C for complete rows, else each row's R largest, falling.
        label: ``(N, K, R)`` int64, the classes of ``probability``; None for complete rows.
        num_classes: C.
    """

    probability: Tensor
    label: Tensor | None
    num_classes: int

    @classmethod
    def of_rows(cls, rows: Tensor, num_classes: int, *, packed: bool) -> NeighborPredictions:
        """Return what rows of a store say.

        Args:
            rows: As they are stored, ``(..., B)`` uint8: float16 for each class, or records of `pack`.
            num_classes: C.
            packed: Whether they are records.
        """
        words = rows.view(torch.int16)  # (..., B / 2)
        if not packed:
            return cls(words.view(torch.float16).float(), None, num_classes)
        label, probability = words.chunk(2, dim=-1)
        return cls(probability.view(torch.float16).float(), label.long() & 0xFFFF, num_classes)  # uint16

    def ranked(self) -> Tensor:
        """Return the largest 21 (or all) probabilities of each neighbor, falling: ``(N, K, R)``."""
        if self.label is not None:
            return self.probability
        return self.probability.topk(min(LISTED, self.num_classes), dim=-1).values

    def classes(self) -> Tensor:
        """Return the class each neighbor votes for, ``(N, K)`` int64; the lowest of equal ones."""
        return self.probability.argmax(dim=-1) if self.label is None else self.label[..., 0]
