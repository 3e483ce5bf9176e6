"""Diverse inputs: a step is taken by the gradient at the image as another one, smaller and moved at random."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives import Score

LEAST_SIDE = 0.9  # of a smaller image, as a share of the image's


def diverse(score: Score, probability: float, draw: Tensor) -> Score:
    """Return a score of each image as one draw makes of it: with a probability smaller, on black, anywhere.

    Its gradient is that of the image itself.

    Args:
        score: Of images ``(N, 3, H, W)``.
        probability: Of a change, in [0, 1]; other images stay as they are.
        draw: ``(N, 4)`` in [0, 1), in the images' dtype: whether there is a change, side, first row and first column.

    References:
        Xie et al. 2019, "Improving transferability of adversarial examples with input diversity", Section 3.

    Differences from the paper:
        The smaller image takes from 0.9 of the side to all of it, and the network sees images of the size that it was
        made for, as in torchattacks; the paper enlarges them by up to a tenth. It may touch any edge.
    """
    changed, side, top, left = draw.unbind(dim=1)  # (N,)
    side = side.masked_fill(changed >= probability, 1)

    def drawn(image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        rows, columns = _placed(height, side, top), _placed(width, side, left)  # (N, H, H), (N, W, W)
        return score(rows[:, None] @ image @ columns[:, None].mT)

    return drawn


def _placed(size: int, side: Tensor, offset: Tensor) -> Tensor:
    """Return what shrinks a line of pixels and moves it within black ones: weights ``(N, size, size)``, out of in.

    Matrices and not an interpolation: each image has a size of its own, and the gradient of an interpolation is a sum
    in random order on a GPU.

    Args:
        size: Number of pixels.
        side: ``(N,)``, where the number of those left lies: from 0 for `LEAST_SIDE` to 1 for all.
        offset: ``(N,)`` in [0, 1), where they begin: at any pixel where there is room.
    """
    least = max(int(LEAST_SIDE * size), 1)
    side = (least + (side * (size - least)).floor())[:, None]  # (N, 1)
    first = (offset[:, None] * (size - side + 1)).floor()
    pixels = torch.arange(size, device=side.device)
    place = pixels + 0.5 - first  # (N, size): centers of pixels in the smaller line
    source = (place * size / side - 0.5).clamp(0, size - 1)  # where that is in the line itself
    weights = (1 - (source[:, :, None] - pixels).abs()).clamp_min(0)
    return weights * ((place > 0) & (place < side))[:, :, None]
