"""Differences of images to the next row and column, ∇, and what they give back, ∇ᵀ."""

from __future__ import annotations

import torch
from torch import Tensor


def slopes(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Return the differences ∇x ``(N, 2, D, H, W)`` of x ``(N, D, H, W)`` to the next row and column.

    Args:
        x: The images.
        out: Where to write them, 0 in the last row and column, which have no next one; by default new memory.
    """
    if out is None:
        out = x.new_zeros(len(x), 2, *x.shape[1:])
    torch.sub(x[:, :, 1:], x[:, :, :-1], out=out[:, 0, :, :-1])
    torch.sub(x[..., 1:], x[..., :-1], out=out[:, 1, ..., :-1])
    return out


def add_transposed(x: Tensor, p: Tensor, factor: float) -> None:
    """Add ``factor`` ∇ᵀp to x; p is 0 in the last row or column, where differences are."""
    down, right = p[:, 0], p[:, 1]
    x.sub_(down, alpha=factor).sub_(right, alpha=factor)
    x[:, :, 1:].add_(down[:, :, :-1], alpha=factor)
    x[..., 1:].add_(right[..., :-1], alpha=factor)
