"""What attacks share that search for the smallest perturbation, whatever Δ: what is enough, and what is kept."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives import Objective
from lit_knn.errors import UserError
from lit_knn.threat_models.norms import Norm, column


class Smallest:
    """Of all perturbations of an image that a search looks at, the smallest that is enough, or else the most promising.

    Args:
        image: ``(N, 3, H, W)``, clean.
        confidence: Margin κ above which a perturbation is enough.
        norm: In which perturbations are measured.

    Attributes:
        found: ``(N, 3, H, W)``, each image with the smallest perturbation that was enough; where none was, with the one
            of the highest margin.
        length: ``(N,)``, sizes of those that were enough, infinite where none was.
    """

    def __init__(self, image: Tensor, confidence: float, norm: Norm) -> None:
        self._image, self._confidence, self._norm = image, confidence, norm
        self.found = image
        self.length = torch.full_like(image[:, 0, 0, 0], torch.inf)
        self._highest = torch.full_like(self.length, -torch.inf)

    def look(self, adversarial: Tensor, margin: Tensor) -> Tensor:
        """Look at images ``(N, 3, H, W)`` with margins ``(N,)``, and return ``(N,)`` bool: is it enough?"""
        enough = margin > self._confidence
        length = self._norm.length(adversarial - self._image)
        better = torch.where(enough, length < self.length, self.length.isinf() & (margin > self._highest))
        self.found = torch.where(column(better), adversarial, self.found)
        self.length = torch.where(enough & better, length, self.length)
        self._highest = torch.where(better, margin, self._highest)
        return enough


def require_signed(attack: str, objective: Objective) -> None:
    """Raise a UserError if the sign of an objective does not say whether the answer is wrong."""
    if not objective.signed:
        raise UserError(
            f"{attack} needs an objective that is above 0 where the answer is wrong, which "
            f"{type(objective).__name__} is not; take one such as Margin, TargetedDLR or DefenseMargin"
        )
