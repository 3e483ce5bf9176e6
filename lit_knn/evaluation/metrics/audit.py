"""Proof that each sample was seen exactly once."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.evaluation.metrics.sums import Sums


class AuditError(RuntimeError):
    """Samples were dropped, padded or repeated, so that no accuracy of the run can be trusted."""


class SampleAudit(Sums):
    """Three sums over the ids of all processes: how many, their sum, the sum of their hashes.

    A distributed sampler pads the last batch by default and nobody notices; here any sample that is missing, repeated
    or swapped changes a sum (two changes cancel in all three with a chance of about 2⁻⁶⁴).
    """

    def __init__(self) -> None:
        super().__init__(3)

    def update(self, ids: Tensor) -> None:
        """Count the ids ``(N,)`` int64 of one batch."""
        self.add(_sums(ids))

    def verify(self, expected: Tensor) -> None:
        """Compare with the ids that should have been seen; every process must take part.

        Args:
            expected: ``(M,)`` int64, in any order.

        Raises:
            AuditError: If any id was missed, repeated, or never asked for.
        """
        seen, wanted = self.compute().cpu(), _sums(expected.cpu())
        if not torch.equal(seen, wanted):
            raise AuditError(
                f"the run counted {int(seen[0])} samples where {int(wanted[0])} were to be counted exactly once each "
                f"(ids sum to {int(seen[1])}, not {int(wanted[1])}): some were missing, repeated or padded"
            )


def _sums(ids: Tensor) -> Tensor:
    """Return count, sum and hash sum; all arithmetic wraps at 2⁶⁴, so the order of the ids does not matter."""
    mixed = ids * -0x61C8864680B583EB  # 2⁶⁴ divided by the golden ratio, as a signed number
    mixed = (mixed ^ (mixed >> 31)) * -0x4B47D0C5A1A6E94F
    mixed = mixed ^ (mixed >> 29)
    return torch.stack([ids.new_tensor(ids.numel()), ids.sum(), mixed.sum()])
