"""Patches of a grid joined to one image along seams of minimum error.

A seam is where a patch takes over from those above and left of it: one pixel of each row of the strip that it shares
with its left neighbor, one pixel of each column of the strip that it shares with its upper neighbor, the pixels of
consecutive rows or columns at most one apart. Where a patch has both strips, both parts of the seam end in the same
pixel of the diagonal of their common corner. Pixels on the seam and behind it are the new patch's.

References:
    Efros and Freeman 2001, Section 2.1 (minimum error boundary cut).
"""

from __future__ import annotations

import torch
from torch import Tensor


def joined(patches: Tensor, overlap: int) -> Tensor:
    """Return the image that patches make, laid from top left to bottom right, row by row.

    A patch meets what is already there, which its upper right neighbor is part of. So it is patches of equal
    2 · row + column that do not touch, and are laid at once: 2·A + B − 2 times about forty operations, on all images
    together. No operation mixes images or adds up in an order that could change: batches make no difference.

    Args:
        patches: ``(N, A, B, 3, S, S)`` float, A rows of B patches.
        overlap: Rows or columns that neighbors share, from 1 to S // 2: then no patch meets the one after the next.

    Returns:
        ``(N, 3, S + (A − 1) · (S − overlap), S + (B − 1) · (S − overlap))``, whose pixels are pixels of the patches.
    """
    count, rows, columns, channels, size, _ = patches.shape
    step = size - overlap
    image = patches.new_zeros(count, channels, size + (rows - 1) * step, size + (columns - 1) * step)
    places = image.unfold(2, size, step).unfold(3, size, step)  # (N, 3, A, B, S, S), a view of it
    row = torch.arange(rows, device=patches.device).repeat_interleave(columns)
    column = torch.arange(columns, device=patches.device).repeat(rows)
    turn = 2 * row + column
    order = turn.argsort(stable=True)
    for now in order.split(turn.bincount().tolist()):
        if len(now):
            a, b = row[now], column[now]  # (L,)
            new = patches[:, a, b].transpose(1, 2)  # (N, 3, L, S, S)
            there = places[:, :, a, b]
            old = kept(squared_error(there, new), overlap, has_upper=a > 0, has_left=b > 0)
            places[:, :, a, b] = torch.where(old[:, None], there, new)
    return image


def squared_error(first: Tensor, second: Tensor) -> Tensor:
    """Return the error ``(N, ...)`` of each pixel of ``(N, 3, ...)``, summed over channels in their order."""
    channels = (first - second).square_().unbind(1)
    total = channels[0].clone()
    for channel in channels[1:]:
        total += channel
    return total


def kept(error: Tensor, overlap: int, has_upper: Tensor, has_left: Tensor) -> Tensor:
    """Return which pixels stay as they are where a patch is laid, by the seam of least total error.

    Args:
        error: ``(N, L, S, S)`` float, of each pixel of L patches against what is there; counts in the strips only.
        overlap: Width O of a strip.
        has_upper: ``(L,)`` bool, whether a patch shares its first rows with one above.
        has_left: ``(L,)`` bool, whether it shares its first columns with one on the left.

    Returns:
        ``(N, L, S, S)`` bool; all False where there is neither strip. Of seams with the same error the one that meets,
        and then turns, nearer to the upper left.
    """
    size = error.shape[-1]
    left, upper = error[..., :overlap], error[..., :overlap, :].transpose(-1, -2)
    reach, following = _tables(torch.stack([left, upper]))  # (2, N, L, S, O) and (2, N, L, S − 1, O)
    has = torch.stack([has_left, has_upper])[:, None, :, None]  # (2, 1, L, 1)
    diagonal = reach.diagonal(dim1=-2, dim2=-1)  # (2, N, L, O)
    ends = torch.where(has.flip(0), diagonal, reach[..., 0, :])  # alone, a strip's seam ends in its first row
    corner = error[..., :overlap, :overlap].diagonal(dim1=-2, dim2=-1)  # counted in both
    total = torch.where(has, ends, 0).sum(dim=0) - torch.where(has.all(dim=0), corner, 0)  # (N, L, O)
    meeting = total.argmin(dim=-1)  # (N, L)
    offset = torch.where(has[..., 0], meeting, 0)  # (2, N, L): column of the left seam, row of the upper one
    start = offset.flip(0)  # the row or column that it starts in
    seam = [offset]
    for along in range(1, size):
        turned = following[..., along - 1, :].gather(-1, offset[..., None])[..., 0]
        offset = torch.where(has[..., 0] & (along > start), turned, offset)
        seam.append(offset)
    before = torch.arange(size, device=error.device) < torch.stack(seam, dim=-1)[..., None]  # (2, N, L, S, S)
    return before[0] | before[1].transpose(-1, -2)


def _tables(error: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least error of a seam from each pixel of a strip to its far end, and where it goes next.

    Args:
        error: ``(..., S, O)``, S along the seam.

    Returns:
        ``(..., S, O)`` sums, and ``(..., S − 1, O)`` int64 offsets in the next row of each pixel; the first of equals.
    """
    size, width = error.shape[-2:]
    own = torch.arange(width, device=error.device)
    reach, following = [error[..., -1, :]], list[Tensor]()
    for along in range(size - 2, -1, -1):
        beside = torch.nn.functional.pad(reach[-1], (1, 1), value=torch.inf).unfold(-1, 3, 1)  # (..., O, 3)
        least, which = beside.min(dim=-1)
        reach.append(error[..., along, :] + least)
        following.append(own + which - 1)
    return torch.stack(reach[::-1], dim=-2), torch.stack(following[::-1], dim=-2)
