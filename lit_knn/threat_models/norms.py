"""The norms that the size of a perturbation is measured in, and the geometry of their balls."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor

from lit_knn.randomness import Randomness

Step = Literal["sign", "l2"]


class Norm(ABC):
    """A norm of pixels, of each image on its own.

    Images, perturbations and gradients are ``(N, 3, H, W)`` float, lengths and radii ``(N,)`` in pixels' units.

    Attributes:
        step: The direction in which a linear function rises most within a ball: the gradient (``l2``) or its sign.
    """

    step: Step

    @abstractmethod
    def length(self, change: Tensor) -> Tensor:
        """Return the norm ``(N,)``, in the input's dtype."""

    @abstractmethod
    def dual(self, gradient: Tensor) -> Tensor:
        """Return the dual norm ``(N,)``: how much a linear function rises, at most, within the unit ball."""

    @abstractmethod
    def project(self, adversarial: Tensor, image: Tensor, radius: Tensor) -> Tensor:
        """Pull each image back into its ball, and clip it to [0, 1].

        Clipping moves every pixel towards the center, which lies in [0, 1] itself, so the result is in the ball as
        well. An image that is in both already stays as it is, to the bit.

        Args:
            adversarial: ``(N, 3, H, W)`` float, any finite value.
            image: ``(N, 3, H, W)`` float in [0, 1], the centers.
            radius: ``(N,)``.
        """

    @abstractmethod
    def direction(self, gradient: Tensor, step: Step | None = None) -> Tensor:
        """Return the direction of one step, ``(N, 3, H, W)``, of norm 1; of at most 1 for signs, as sign(0) = 0.

        Args:
            gradient: ``(N, 3, H, W)`` finite. A gradient of zero stays zero.
            step: Whether the gradient (``l2``) or its sign is followed; by default what is steepest in this norm.
        """

    @abstractmethod
    def surface(self, randomness: Randomness, image: Tensor) -> Tensor:
        """Return one random point of the surface of the unit ball for each image, ``(N, 3, H, W)``, of norm 1."""

    def ball(self, randomness: Randomness, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return distances ``(N,)`` and points of the surface ``(N, 3, H, W)``: times each other, uniform in the ball.

        The distances are D-th roots of uniform numbers, which spreads them as the volume grows.
        """
        return randomness.uniform(image) ** (1 / image[0].numel()), self.surface(randomness, image)


class _L2(Norm):
    """The Euclidean norm."""

    step: Step = "l2"

    def length(self, change: Tensor) -> Tensor:
        """Return the root of the sum of squares."""
        length: Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)
        return length

    def dual(self, gradient: Tensor) -> Tensor:
        """Return the same norm."""
        return self.length(gradient)

    def project(self, adversarial: Tensor, image: Tensor, radius: Tensor) -> Tensor:
        """Pull along the ray from the ball's center."""
        difference = adversarial - image
        length = self.length(difference)
        shrink = (radius / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1)
        pulled = torch.addcmul(image, difference, column(shrink))
        return torch.where(column(shrink < 1), pulled, adversarial).clamp_(0, 1)

    def direction(self, gradient: Tensor, step: Step | None = None) -> Tensor:
        """Return G/‖G‖₂ or sign(G)/√D."""
        if step == "sign":
            return gradient.sign() / math.sqrt(gradient[0].numel())
        scaled = _scaled(gradient)  # a confident network's gradient may be so small that its squares vanish
        return scaled / column(self.length(scaled).clamp_min(torch.finfo(gradient.dtype).tiny))

    def surface(self, randomness: Randomness, image: Tensor) -> Tensor:
        """Return directions."""
        return randomness.direction(image)


class _LInf(Norm):
    """The largest change of any pixel."""

    step: Step = "sign"

    def length(self, change: Tensor) -> Tensor:
        """Return the largest absolute value."""
        pixels = change.flatten(1)
        return torch.maximum(pixels.amax(dim=1), -pixels.amin(dim=1))  # without a copy of absolute values

    def dual(self, gradient: Tensor) -> Tensor:
        """Return the sum of absolute values."""
        length: Tensor = torch.linalg.vector_norm(gradient.flatten(1), ord=1, dim=1)
        return length

    def project(self, adversarial: Tensor, image: Tensor, radius: Tensor) -> Tensor:
        """Clamp each pixel to the range about its own."""
        return adversarial.clamp(image - column(radius), image + column(radius)).clamp_(0, 1)

    def direction(self, gradient: Tensor, step: Step | None = None) -> Tensor:
        """Return sign(G) or G/‖G‖∞."""
        return _scaled(gradient) if step == "l2" else gradient.sign()

    def surface(self, randomness: Randomness, image: Tensor) -> Tensor:
        """Return uniform points of the cube, stretched until they touch a face."""
        inside = 2 * randomness.uniform(image, *image.shape[1:]) - 1
        return inside / column(self.length(inside))


L2: Norm = _L2()
LINF: Norm = _LInf()


def column(values: Tensor) -> Tensor:
    """Return one value for each image, ``(N,)``, as ``(N, 1, 1, 1)``: it goes with images ``(N, 3, H, W)``."""
    return values.view(-1, 1, 1, 1)


def _scaled(gradient: Tensor) -> Tensor:
    """Return gradients with a largest absolute value of 1; one of zero stays zero."""
    return gradient / column(LINF.length(gradient).clamp_min(torch.finfo(gradient.dtype).tiny))
