"""Backward pass differentiable approximation: attack through a transformation that has no useful gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.defenses.transformations.base import Transformed
from lit_knn.errors import UserError


class BPDA(Transformed):
    """A transforming defense as an attacker copies it: it answers as the defense does, with the identity's gradient.

    For ``WhiteBox(defense=BPDA(defense=...))`` and any gradient attack on :class:`lit_knn.attacks.objectives.DefenseMargin`.

    Args:
        defense: Whose transformation returns images about equal to its input, of the same size.

    References:
        Athalye et al. 2018, Section 4.1.
    """

    def __init__(self, *, defense: Transformed) -> None:
        self.defense = defense
        self.name = defense.name

    def transform(self, image: Tensor) -> Tensor:
        """Return the transformed image, whose gradient with respect to ``image`` is the identity.

        Raises:
            UserError: If the transformation changes the image's size.
        """
        with torch.no_grad():
            seen = self.defense.transform(image)
        if seen.shape != image.shape:
            raise UserError(f"BPDA takes transformations that keep an image's size, and {self.name} does not")
        return seen + (image - image.detach())  # zero, but its gradient is not: the answer is the defense's to the bit
