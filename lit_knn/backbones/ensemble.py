"""Several networks that are attacked as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lit_knn.backbones.classifier import Classifier
from lit_knn.backbones.taps import Tap
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import digest

if TYPE_CHECKING:
    from lit_knn.data.preprocessing import Preprocessing


class Ensemble(nn.Module):
    """The mean probability of several classifiers.

    Args:
        members: All with the same classes.

    Raises:
        UserError: When asked, if they have not.

    References:
        Liu et al. 2017, Section 5.1.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return the logarithm of the mean probability, ``(N, C)``, of images ``(N, 3, H, W)`` in [0, 1]."""
        logs = [member(image).log_softmax(dim=1) for member in self.members]
        if len(classes := {log.shape[1] for log in logs}) > 1:
            counts = " and ".join(map(str, sorted(classes)))
            raise UserError(f"networks that are attacked together have {counts} classes: all must have the same")
        return torch.stack(logs).logsumexp(dim=0) - math.log(len(self.members))

    def examine(self, image: Tensor, taps: Sequence[Tap] = (), preprocessing: Preprocessing | None = None) -> None:
        """Try each member on a first batch, as `Classifier.examine` does.

        Args:
            image: ``(N, 3, H, W)`` float32 in [0, 1].
            taps: What will be read.
            preprocessing: What brought the images to their size, if anything.
        """
        for member in self.members:
            member.examine(image, taps, preprocessing)  # type: ignore[operator]

    def fingerprint(self) -> str:
        """Return a hash of all members."""
        return f"ensemble-{digest([member.fingerprint() for member in self.members])}"  # type: ignore[operator]
