"""Where an activation has its channels, told by which of its sides follow those of the image."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from torch import Tensor

from lit_knn.errors import UserError

Channels = Literal["first", "last"]
CLASS_TOKENS = 1  # that may stand beside those of the grid


def channels_first(
    activation: Tensor, channels: Channels | None, image: tuple[int, int] | None = None, prefix: int = 0
) -> Tensor:
    """Return maps as ``(N, D, H, W)`` and tokens as ``(N, D, T)``.

    Args:
        activation: ``(N, D, H, W)`` or ``(N, H, W, D)`` maps, ``(N, T, D)`` or ``(N, D, T)`` tokens.
        channels: Where it has them; by default maps have them first, and tokens last, unless they look like the other.
        image: Height and width of the images, if known.
        prefix: Tokens that are known to stand before those of the grid.

    Raises:
        UserError: If it looks like the other, or like both.
    """
    maps = activation.ndim == 4
    if channels is None:
        usual, other = (
            (activation.shape[2:], activation.shape[1:3]) if maps else (activation.shape[1:2], activation.shape[2:])
        )
        square = maps and activation.shape[1] == activation.shape[2]
        beside = max(prefix, CLASS_TOKENS)
        if image is not None and _follows(tuple(other), image) and not _follows(tuple(usual), image, beside):
            doubtful = True
        elif square and activation.shape[2] == activation.shape[3]:  # a convolution's output says by its strides
            doubtful = image is not None and activation.shape[1] > 1 and activation.stride(1) > 1
        else:
            doubtful = square
        if doubtful:
            what, where = ("maps", "last") if maps else ("tokens", "first")
            raise UserError(
                f"{what} of shape {tuple(activation.shape)} seem to have their channels {where}: set the "
                "tap's `channels` to first or last"
            )
        channels = "first" if maps else "last"
    return activation.movedim(-1, 1) if channels == "last" else activation


def grid_of(count: int, image: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a grid of so many tokens, whose sides follow those of the image.

    Args:
        count: From 1.
        image: Height and width.

    Raises:
        UserError: If there is no such grid, or more than one.
    """
    sides = [(height, count // height) for height in range(1, count + 1) if count % height == 0]
    grids = [grid for grid in sides if _follows(grid, image)]
    if len(grids) != 1:
        found = " and ".join(f"{height}×{width}" for height, width in grids) or "none"
        raise UserError(
            f"{count} tokens should be a grid that has the shape of an image of {image[0]}×{image[1]} pixels, but "
            f"{found} would be: set the tap's `prefix_tokens` to the number of class and register tokens before it"
        )
    return grids[0]


@lru_cache
def _follows(sides: tuple[int, ...], image: tuple[int, int], beside: int = CLASS_TOKENS) -> bool:
    """Return whether sides may be those of the image after strides, which are the same in both directions.

    Args:
        sides: Height and width, or the number of tokens of a grid.
        image: Height and width.
        beside: Tokens that there may be besides those of the grid.
    """
    if len(sides) == 1:
        counts = range(sides[0] - beside, sides[0] + 1)
        return any(
            _follows((height, count // height), image)
            for count in counts
            for height in range(1, count + 1)
            if count % height == 0
        )
    if image[0] == image[1]:
        return abs(sides[0] - sides[1]) <= 1 and max(sides) <= max(image) + 1
    # One stride for both directions, each side within a pixel: borders and rounding are no more.
    least = max(1.0, *(side / (size + 1) for side, size in zip(image, sides, strict=True)))
    most = min(side / (size - 1) if size > 1 else float("inf") for side, size in zip(image, sides, strict=True))
    return least < most
