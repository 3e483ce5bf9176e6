"""Three sums over all processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class Sums(Metric):
    """Three sums in int64, which any number of processes merges to the same numbers; a variant says of what."""

    full_state_update = False
    higher_is_better = None
    is_differentiable = False

    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(3, dtype=torch.int64), dist_reduce_fx="sum")

    def add(self, values: Tensor) -> None:
        """Add ``(3,)`` int64."""
        self.sums = self.sums + values  # out of place: under ddp_spawn the default state lies in shared memory

    def compute(self) -> Tensor:
        """Return the sums, ``(3,)`` int64, over all processes."""
        return self.sums
