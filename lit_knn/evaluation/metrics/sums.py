"""Sums over all processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Sums(Metric):
    """Sums in int64, which any number of processes merges to the same numbers; a variant says of what.

    Args:
        shape: How many there are.
    """

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    sums: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Add whole numbers of that shape."""
        self.sums = self.sums + values  # out of place: under ddp_spawn the default state lies in shared memory

    def compute(self) -> Tensor:
        """Return the sums, int64 of that shape, over all processes."""
        return self.sums
