"""JPEG as attackers take it: its steps in PyTorch, with smooth stairs instead of rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.defenses.transformations.stairs import smooth_floor

SIDE = 8  # of a block
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF, from red, green, blue


def smooth_jpeg(image: Tensor, tables: Sequence[Tensor]) -> Tensor:
    """Return what JPEG makes of images but for the smoothness of its rounding, with a gradient.

    Args:
        image: ``(N, 3, H, W)`` or ``(N, 1, H, W)`` float in [0, 1].
        tables: Divisors ``(8, 8)`` of the coefficients of brightness and of color.

    References:
        ITU-T T.81, Annex A; JFIF 1.02 for the colors.
    """
    values = image * 255 - 128
    if image.shape[1] == 1:
        return (_rounded(values, tables[0]) + 128) / 255
    matrix = image.new_tensor(YCBCR)
    planes = torch.einsum("kc,nchw->nkhw", matrix, values)  # color has no offset here
    brightness = _rounded(planes[:, :1], tables[0])
    color = _rounded(F.avg_pool2d(planes[:, 1:], 2, ceil_mode=True), tables[1])
    color = F.interpolate(color, scale_factor=2, mode="bilinear")[..., : image.shape[2], : image.shape[3]]
    back = torch.einsum("ck,nkhw->nchw", torch.linalg.inv(matrix), torch.cat([brightness, color], dim=1))
    return (back + 128) / 255


def _rounded(planes: Tensor, table: Tensor) -> Tensor:
    """Round the coefficients of planes ``(N, D, H, W)`` to multiples of a table ``(8, 8)``, smoothly."""
    count, channels, height, width = planes.shape
    whole = F.pad(planes, (0, -width % SIDE, 0, -height % SIDE), mode="replicate")
    blocks = whole.unflatten(3, (-1, SIDE)).unflatten(2, (-1, SIDE)).transpose(3, 4)  # (N, D, h, w, 8, 8)
    cosines, divisors = _cosines(planes), table.to(planes)
    coefficients = cosines @ blocks @ cosines.T / divisors
    rounded = cosines.T @ (smooth_floor(coefficients + 0.5) * divisors) @ cosines
    return rounded.transpose(3, 4).reshape(count, channels, *whole.shape[2:])[..., :height, :width]


def _cosines(like: Tensor) -> Tensor:
    """Return the orthonormal matrix ``(8, 8)`` of the discrete cosine transform."""
    number = torch.arange(SIDE, dtype=torch.float64)
    matrix = torch.cos(math.pi / SIDE * (number + 0.5) * number[:, None]) * math.sqrt(2 / SIDE)
    matrix[0] /= math.sqrt(2)
    return matrix.to(like)
