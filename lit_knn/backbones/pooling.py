"""Activations of any layout to one vector per image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lit_knn.errors import UserError


def pool(activation: Tensor, size: int) -> Tensor:
    """Average an activation over space to ``size × size`` cells, or over its tokens, and flatten it.

    Args:
        activation: ``(N, D, H, W)`` maps, ``(N, T, D)`` tokens or ``(N, D)`` vectors, float.
        size: Cells along each side; maps smaller than that keep their size. Tokens and vectors have no grid and
            take 1 only.

    Returns:
        ``(N, D·size²)``, ``(N, D)`` and ``(N, D)``: always a copy, so that a later in-place layer cannot change it.

    Raises:
        UserError: For another layout.

    References:
        Dubey et al. 2019, Appendix B and Table 3 (spatial average pooling).
    """
    if activation.ndim == 4:
        height, width = (min(size, side) for side in activation.shape[2:])
        return F.adaptive_avg_pool2d(activation, (height, width)).flatten(1)  # (N, D·size²)
    if activation.ndim == 3 and size == 1:
        return activation.mean(dim=1)  # (N, D)
    if activation.ndim == 2 and size == 1:
        return activation.clone()
    raise UserError(
        f"a tap gave an activation of shape {tuple(activation.shape)} to be pooled to {size}×{size}; "
        "taps take maps (N, D, H, W), or tokens (N, T, D) and vectors (N, D) with pool: 1"
    )
