"""Several networks that are attacked as one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_knn.backbones.classifier import Classifier


class Ensemble(nn.Module):
    """The mean probability of several classifiers.

    Args:
        members: All with the same classes.

    References:
        Liu et al. 2017, Section 5.1.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return the logarithm of the mean probability, ``(N, C)``, of images ``(N, 3, H, W)`` in [0, 1]."""
        logs = torch.stack([member(image).log_softmax(dim=1) for member in self.members])  # (E, N, C)
        return logs.logsumexp(dim=0) - math.log(len(self.members))

    def fingerprint(self) -> str:
        """Return a hash of all members."""
        parts = ",".join(member.fingerprint() for member in self.members)  # type: ignore[operator]
        return f"ensemble-{hashlib.sha256(parts.encode()).hexdigest()[:16]}"
