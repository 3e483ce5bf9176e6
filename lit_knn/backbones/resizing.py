"""Images of any size, for a network that wants another one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.backbones.precision import full_float32
from lit_knn.errors import UserError


class Resizing:
    """Resize images to the size that a network was made for, bilinearly, and antialiased where they become smaller.

    A product with one matrix for each side: its gradient is exact, and the same in every run on a GPU as well, where
    that of PyTorch's antialiased kernel is not.

    Args:
        size: Side in pixels, or height and width; None leaves images as they are.

    Attributes:
        size: Height and width; None for any.
    """

    def __init__(self, size: int | Sequence[int] | None) -> None:
        sides = [size, size] if isinstance(size, int) else size
        if sides is not None and (len(sides) != 2 or min(sides) < 1):
            raise UserError(f"input_size is {size}: accepted are one number of pixels from 1, or height and width")
        self.size = None if sides is None else (int(sides[0]), int(sides[1]))

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``(N, 3, h, w)`` of ``(N, 3, H, W)`` float, in its dtype; the same tensor where the size is right."""
        if self.size is None or self.size == tuple(image.shape[2:]):
            return image
        height, width = (
            _weights(was, becomes, image.device, image.dtype)
            for was, becomes in zip(image.shape[2:], self.size, strict=True)
        )
        with full_float32(image.device):
            return height @ image @ width.T  # (h, H) (N, 3, H, W) (W, w)

    def __str__(self) -> str:
        """Return what decides what it does; nothing where it does nothing."""
        return "" if self.size is None else f" at {self.size[0]}×{self.size[1]}"


@cache
def _weights(was: int, becomes: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the share ``(becomes, was)`` of each old pixel of a line in each new one, whose sum is 1."""
    with torch.inference_mode(False):  # it is kept, and gradients go through it later
        lines = torch.eye(was, dtype=torch.float64)[None, None]
        shares = F.interpolate(lines, (becomes, was), mode="bilinear", antialias=True)[0, 0]
        return shares.to(device, dtype)
