"""What the Square attack tries: the first perturbation, and the change of one window."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.randomness import Randomness


class Moves(ABC):
    """The perturbations of one norm.

    Attributes:
        numbers: Random numbers of a candidate, besides one for each channel.
    """

    numbers: int

    @abstractmethod
    def start(self, randomness: Randomness, image: Tensor) -> Tensor:
        """Return the first perturbation of each image, ``(N, C, H, W)`` of norm 1."""

    @abstractmethod
    def candidate(self, best: Tensor, image: Tensor, radius: Tensor, p: float, draw: Tensor) -> Tensor:
        """Return the next image to try, ``(N, C, H, W)`` within the ball, not necessarily in [0, 1].

        Args:
            best: ``(N, C, H, W)`` in [0, 1] and within the ball, the best so far.
            image: ``(N, C, H, W)`` in [0, 1], the centers.
            radius: ``(N, 1, 1, 1)``.
            p: Share of the image that a window covers, in (0, 1].
            draw: ``(N, numbers + C)`` in [0, 1).
        """


class LInfMoves(Moves):
    """Stripes one pixel wide at first, then one color in a window: each pixel at an end of its range.

    References:
        Andriushchenko et al. 2020, Algorithm 2 and Section 3.3.
    """

    numbers = 2

    def start(self, randomness: Randomness, image: Tensor) -> Tensor:
        """Draw a sign for each column and channel."""
        return _signs(randomness.uniform(image, image.shape[1], 1, image.shape[3])).expand_as(image)

    def candidate(self, best: Tensor, image: Tensor, radius: Tensor, p: float, draw: Tensor) -> Tensor:
        """Draw a corner, and a sign for each channel."""
        height, width = image.shape[2:]
        side = min(max(round(math.sqrt(p * height * width)), 1), height, width)
        window = _window(best, draw[:, :2], side)
        candidate = best.clone()
        candidate[window] = (image + radius * _signs(draw[:, 2:, None, None]))[window]
        return candidate


class L2Moves(Moves):
    """Bumps at first, then the perturbation of one window is moved into another.

    References:
        Andriushchenko et al. 2020, Algorithm 3 and Section 3.4.
    """

    numbers = 5

    def start(self, randomness: Randomness, image: Tensor) -> Tensor:
        """Tile the image."""
        return _unit(tiles(randomness, image), (1, 2, 3))

    def candidate(self, best: Tensor, image: Tensor, radius: Tensor, p: float, draw: Tensor) -> Tensor:
        """Draw two corners, orientation, and a sign for each channel."""
        height, width = image.shape[2:]
        change = propose(best - image, radius, window_side(height, width, p), draw)
        return image + radius * _unit(change, (1, 2, 3))


def window_side(height: int, width: int, p: float) -> int:
    """Return the odd side of a square that covers a share p of the image; 3 at least, and no larger than the image."""
    side = max(round(math.sqrt(p * height * width)), 3) | 1
    return min(side, (min(height, width) - 1) | 1)


def propose(delta: Tensor, radius: Tensor, side: int, draw: Tensor) -> Tensor:
    """Return a perturbation with the change of two windows, and what is left of the budget, gathered in the first.

    Args:
        delta: ``(N, C, H, W)``, the perturbation so far, within the budget.
        radius: ``(N, 1, 1, 1)``.
        side: Of the windows.
        draw: ``(N, 5 + C)`` in [0, 1): corners of both windows, orientation and signs.

    Returns:
        ``(N, C, H, W)``, to be scaled to the radius.
    """
    first, second = (_window(delta, corner, side) for corner in (draw[:, :2], draw[:, 2:4]))
    rest = delta.clone()
    rest[first] = rest[second] = 0
    freed = ((delta - rest) ** 2).sum(dim=(2, 3), keepdim=True)  # (N, C, 1, 1)
    unused = (radius**2 - (delta**2).sum(dim=(1, 2, 3), keepdim=True)).clamp_min(0) / delta.shape[1]
    shape = bump(side, draw[:, 4:]) + _unit(delta[first], (2, 3))
    rest[first] = _unit(shape, (2, 3)) * (freed + unused).sqrt()
    return rest


def tiles(randomness: Randomness, image: Tensor) -> Tensor:
    """Return the first perturbation, ``(N, C, H, W)``: about 5 × 5 bumps, each turned and signed at random."""
    channels, height, width = image.shape[1:]
    side = max(min(height, width) // 5, 1)
    rows, columns = height // side, width // side
    bumps = bump(side, randomness.uniform(image, rows, columns, 1 + channels))  # (N, rows, columns, C, s, s)
    grid = bumps.permute(0, 3, 1, 4, 2, 5).reshape(len(image), channels, rows * side, columns * side)
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    return F.pad(grid, (left, width - columns * side - left, top, height - rows * side - top))


def bump(side: int, draw: Tensor) -> Tensor:
    """Return two opposite pyramids side by side, of norm 1: ``(..., C, side, side)``.

    Args:
        side: In pixels.
        draw: ``(..., 1 + C)`` in [0, 1): which way they lie, and the sign of each channel.
    """
    upright = _upright(side, draw.dtype, draw.device)
    turned = torch.where(draw[..., :1, None, None] < 0.5, upright, upright.T)  # (..., 1, s, s)
    return turned * _signs(draw[..., 1:, None, None])


@cache
def _upright(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    halves = [_pyramid(side // 2, side), -_pyramid(side - side // 2, side)]
    return _unit(torch.cat(halves), (0, 1)).to(device, dtype)  # (s, s)


def _pyramid(height: int, width: int) -> Tensor:
    """Return the paper's η of norm 1, ``(height, width)``: growing squares, 1/k² of each, about a middle pixel."""
    rows, columns = ((torch.arange(size) - size // 2).abs() for size in (height, width))
    levels = max(height, width) // 2 + 1
    nearest = torch.maximum(rows[:, None], columns)  # (height, width): the first square that holds the pixel
    inverse = 1 / torch.arange(1, levels + 1, dtype=torch.float64) ** 2
    return _unit(inverse.flip(0).cumsum(0).flip(0)[nearest], (0, 1))


def _window(delta: Tensor, corner: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the index of a square in each image, at corners ``(N, 2)`` given in [0, 1)."""
    images, channels, height, width = (torch.arange(size, device=delta.device) for size in delta.shape)
    top, left = (
        (corner[:, axis] * (len(extent) - side + 1)).long()[:, None] + torch.arange(side, device=delta.device)
        for axis, extent in enumerate((height, width))
    )  # (N, s)
    return images[:, None, None, None], channels[:, None, None], top[:, None, :, None], left[:, None, None, :]


def _unit(change: Tensor, axes: tuple[int, ...]) -> Tensor:
    length = torch.linalg.vector_norm(change, dim=axes, keepdim=True)
    unit: Tensor = change / length.clamp_min(torch.finfo(change.dtype).tiny)
    return unit


def _signs(draw: Tensor) -> Tensor:
    """Return 1 or −1 for numbers in [0, 1), as likely."""
    return torch.where(draw < 0.5, 1, -1).to(draw)
