"""Backward pass differentiable approximation: attack through a transformation that has no useful gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.defenses.requirements import Requirements
from lit_knn.defenses.transformations.base import Transformation
from lit_knn.randomness import Randomness


class BPDA(Transformation):
    """Another transformation as an attacker copies it: the same images, with the gradient of a simpler one.

    The simpler one is what the transformation says is `near`, the identity by default, with a bilinear resize to the
    new size where that differs. For ``WhiteBox(defense=TransformedClassifier(transformation=BPDA(...)))`` and any
    gradient attack on `lit_knn.attacks.objectives.DefenseMargin`.

    Args:
        transformation: What is copied.

    References:
        Athalye et al. 2018, Section 4.1.

    Differences from the paper:
        A transformation to another size, which has no identity.
    """

    differentiable = True

    def __init__(self, *, transformation: Transformation) -> None:
        self.transformation, self.name = transformation, transformation.name
        self.random, self.keeps_size = transformation.random, transformation.keeps_size
        self.views = transformation.views

    def requirements(self) -> Requirements:
        """Return those of what is copied."""
        return self.transformation.requirements()

    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return what the transformation does, to the bit."""
        with torch.no_grad():
            seen = self.transformation(image, randomness)
        if not (torch.is_grad_enabled() and image.requires_grad):
            return seen
        near, size = self.transformation.near(image), seen.shape[2:]
        if near.shape[2:] != size:
            near = F.interpolate(near, size, mode="bilinear")
        return seen + (near - near.detach())  # zero, but its gradient is not
