"""The size of a perturbation: the only place where Δ has a unit.

Δ = ‖x* − x‖₂ / ‖x‖₂ over the pixels of one image in [0, 1], a hard cap for each image.

References:
    Dubey et al. 2019, Section 3.1 (normalized L2 distance). Guo et al. 2018 measure it on mean/std-normalized pixels
    and on average over the images instead, about a factor of two away.
"""

from __future__ import annotations

import torch
from torch import Tensor


def norm(x: Tensor) -> Tensor:
    """Return the L2 norm ``(N,)`` of each image of ``(N, 3, H, W)``, in the input's dtype."""
    length: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return length


def column(values: Tensor) -> Tensor:
    """Return one value for each image, ``(N,)``, as ``(N, 1, 1, 1)``: it goes with images ``(N, 3, H, W)``."""
    return values.view(-1, 1, 1, 1)


def radius(image: Tensor, delta: float) -> Tensor:
    """Return the radius ``(N,)`` of each image's ball, Δ·‖x‖₂ in pixels.

    Args:
        image: ``(N, 3, H, W)`` float in [0, 1].
        delta: Δ in [0, 1].
    """
    return delta * norm(image)


def project(adversarial: Tensor, image: Tensor, radius: Tensor) -> Tensor:
    """Pull each image back into its ball along the ray from the ball's center, then clip it to [0, 1].

    Clipping moves every pixel towards the center, which lies in [0, 1] itself, so the result is in the ball as well. An
    image that is in both already stays as it is, to the bit.

    Args:
        adversarial: ``(N, 3, H, W)`` float, any finite value.
        image: ``(N, 3, H, W)`` float in [0, 1], the centers.
        radius: ``(N,)`` in pixels.
    """
    difference = adversarial - image
    length = norm(difference)
    shrink = (radius / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1)
    pulled = torch.addcmul(image, difference, column(shrink))
    return torch.where(column(shrink < 1), pulled, adversarial).clamp_(0, 1)


def normalized_l2(image: Tensor, adversarial: Tensor) -> Tensor:
    """Return the realized Δ ``(N,)`` of each image; on normalized pixels instead, Guo et al.'s measure.

    Args:
        image: ``(N, 3, H, W)`` float, not all zero.
        adversarial: ``(N, 3, H, W)`` float.
    """
    return norm(adversarial - image) / norm(image)
