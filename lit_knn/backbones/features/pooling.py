"""Activations of any layout to one vector per image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.backbones.layout import Channels, channels_first, grid_of
from lit_knn.backbones.precision import at_least_float32
from lit_knn.errors import UserError

Size = int | Literal["rmac", "cls"]
SCALES = 3  # L of R-MAC
OVERLAP = 0.4  # of consecutive largest regions along the longer side


def pool(
    activation: Tensor,
    size: Size,
    channels: Channels | None = None,
    image: tuple[int, int] | None = None,
    prefix: int = 0,
) -> Tensor:
    """Average an activation over space to ``size × size`` cells, or over its tokens, and flatten it.

    Or take R-MAC of a map, or the class token.

    Args:
        activation: ``(N, D, H, W)`` or ``(N, H, W, D)`` maps, ``(N, T, D)`` or ``(N, D, T)`` tokens or ``(N, D)``
            vectors, float.
        size: Cells along each side; maps smaller than that keep their size. Tokens take more than 1 where they are
            those of a grid behind ``prefix`` others, and vectors 1 only. ``rmac`` sums maxima over regions of maps
            instead, and ``cls`` is the first of the tokens.
        channels: Where maps and tokens have them; by default maps first and tokens last, unless they look like the
            other.
        image: Height and width of the images, which tell the one from the other, and the shape of a grid of tokens.
        prefix: Class and register tokens before those of the grid, which are left out.

    Returns:
        ``(N, D·size²)``, ``(N, D)`` and ``(N, D)``, float32 or float64: always a copy, so that a later in-place layer
        cannot change it.

    Raises:
        UserError: For another layout, or one that has to be told.

    References:
        Dubey et al. 2019, Appendix B and Table 3 (spatial average pooling).
    """
    activation = at_least_float32(activation)
    if activation.ndim == 3 and size != "rmac":
        return _pooled_tokens(channels_first(activation, channels, image, prefix), size, image, prefix)
    if activation.ndim == 4 and size != "cls" and not prefix:
        maps = channels_first(activation, channels, image)
        if size == "rmac":
            return rmac(maps)
        height, width = (min(size, side) for side in maps.shape[2:])
        return F.adaptive_avg_pool2d(maps, (height, width)).flatten(1)  # (N, D·size²)
    if activation.ndim == 2 and size == 1 and not prefix:
        return activation.clone()
    kinds = "prefix_tokens" if prefix else f"pool: {size}"
    raise UserError(
        f"{kinds} gave an activation of shape {tuple(activation.shape)}; taps take maps (N, D, H, W), vectors (N, D) "
        "with pool: 1, or tokens (N, T, D), which alone have a class token (pool: cls) and prefix_tokens"
    )


def _pooled_tokens(tokens: Tensor, size: int | Literal["cls"], image: tuple[int, int] | None, prefix: int) -> Tensor:
    """Return the first of tokens ``(N, D, T)``, or averages of those behind the first few."""
    if size == "cls":
        return tokens[:, :, 0].clone()  # (N, D)
    patches = tokens[:, :, prefix:]  # (N, D, H·W)
    if not patches.shape[2]:
        raise UserError(f"prefix_tokens is {prefix}, but there are {tokens.shape[2]} tokens: fewer are accepted")
    if size == 1:
        return patches.mean(dim=2)
    if image is None:
        raise UserError(f"pool: {size} of tokens needs the size of the images; 1 is accepted")
    maps = patches.unflatten(2, grid_of(patches.shape[2], image))  # (N, D, H, W)
    return pool(maps, size, "first")


def rmac(maps: Tensor) -> Tensor:
    """Sum the unit vectors of the maxima over each region, to a unit vector: regional maximum activations.

    Args:
        maps: ``(N, D, H, W)`` float, of any sign.

    Returns:
        ``(N, D)`` of length 1.

    References:
        Tolias et al. 2016, "Particular object retrieval with integral max-pooling of CNN activations", Section 4.1.

    Differences from the paper:
        Tolias et al. whiten each region's vector by PCA before the sum. Here, as in Dubey et al., dimensions are
        reduced once and after it. Their maps end in a ReLU; ours are taken before it, as all of Dubey et al., and keep
        how far a channel is from firing in a region. A tap on the node behind it, such as ``layer4.0.relu_2``, gives
        theirs. Regions of less than a pixel are left out.
    """
    maps = maps.clone()  # gradients of maxima look at them again, when an in-place ReLU has been there
    height, width = maps.shape[2:]
    regions = [
        maps[:, :, top : top + side, left : left + side].amax(dim=(2, 3))  # (N, D)
        for top, left, side in rmac_regions(height, width)
    ]
    return F.normalize(F.normalize(torch.stack(regions), dim=-1).sum(dim=0), dim=-1)


def rmac_regions(height: int, width: int) -> Iterator[tuple[int, int, int]]:
    """Yield top, left and side of the square regions of R-MAC, in pixels of the map.

    At scale l they have side ``2·min(W, H)/(l + 1)`` and there are ``l × (l + m − 1)`` of them, spread evenly; m
    largest ones overlap by about 40 % along the longer side, and a square map has m = 1. These are the regions of
    Tolias et al.'s code but for maps longer than 1:4.8: that has m ≤ 7, which leaves gaps from 1:7 on, and the paper
    has no limit.
    """
    short, long = sorted((height, width))
    more = 0  # m − 1
    if short < long:
        # in the order of their code: its rounding decides between two that are equally near, as of 3 × 11
        more = min(
            range(1, 2 * long),
            key=lambda gaps: abs((short**2 - short * ((long - short) / gaps)) / short**2 - OVERLAP),
        )
    for scale in range(1, SCALES + 1):
        if side := 2 * short // (scale + 1):
            for top in _starts(height, side, scale + more * (height > width)):
                for left in _starts(width, side, scale + more * (width > height)):
                    yield top, left, side


def _starts(length: int, side: int, count: int) -> list[int]:
    """Return where ``count`` windows of a length start, the first at 0 and the last at the end."""
    return [step * (length - side) // max(count - 1, 1) for step in range(count)]
