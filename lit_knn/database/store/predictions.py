"""What neighbors predict: between the store that knows it and the defenses that count it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
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
    def of_rows(
        cls, rows: npt.NDArray[Any], num_classes: int, device: torch.device | str = "cpu"
    ) -> NeighborPredictions:
        """Return what rows of a store say.

        Args:
            rows: As they are stored: float16 ``(N, K, C)``, or records ``(N, K)`` of :func:`pack`.
            num_classes: C.
            device: Where it shall lie.
        """
        packed = rows.dtype.names is not None
        probability = torch.from_numpy(rows["probability"] if packed else rows).to(device).float()
        label = torch.from_numpy(rows["class"].astype(np.int64)).to(device) if packed else None
        return cls(probability, label, num_classes)

    def ranked(self) -> Tensor:
        """Return the largest 21 (or all) probabilities of each neighbor, falling: ``(N, K, R)``."""
        if self.label is not None:
            return self.probability
        return self.probability.topk(min(LISTED, self.num_classes), dim=-1).values

    def classes(self) -> Tensor:
        """Return the class each neighbor votes for, ``(N, K)`` int64; the lowest of equal ones."""
        return self.probability.argmax(dim=-1) if self.label is None else self.label[..., 0]
