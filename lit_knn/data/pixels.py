"""What the pixels of an image may be, checked where any source hands them over."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.data.decoding import ImageError, decode
from lit_knn.errors import UserError

ACCEPTED = "encoded bytes, or an array (H, W, 3) of uint8 or of floats in [0, 1]"
FLOATS = (np.float16, np.float32, np.float64)


def pixels(image: bytes | NDArray[Any], name: str) -> Tensor:
    """Return what a source gives as ``(3, H, W)``, channels last in memory: uint8, or float32 in [0, 1] of floats.

    Args:
        image: Encoded bytes, or ``(H, W, 3)`` uint8 or float in [0, 1].
        name: What messages call it.

    Raises:
        UserError: If it is of another type, dtype or shape: then all images of the source are.
        ImageError: If it cannot be decoded, or a float is outside [0, 1] or NaN.
    """
    if isinstance(image, bytes):
        return decode(image)
    if not isinstance(image, np.ndarray):
        raise UserError(f"{name} is of type {type(image).__name__}: accepted are {ACCEPTED}")
    floats = image.dtype.type in FLOATS
    if not (floats or image.dtype == np.uint8) or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f"{name} is {image.dtype} {image.shape}: accepted are {ACCEPTED}")
    # a copy: arrays may be read-only, mirrored or of the other byte order
    copy = torch.from_numpy(np.array(image, np.float32 if floats else np.uint8, order="C"))
    if floats and not bool(((copy >= 0) & (copy <= 1)).all()):
        least, most = float(image.min()), float(image.max())
        raise ImageError(f"its pixels reach from {least:.9g} to {most:.9g}: accepted are floats in [0, 1]")
    return copy.permute(2, 0, 1)  # (3, H, W)


def unit(image: Tensor) -> Tensor:
    """Return pixels of uint8 as float32 in [0, 1]; floats are that already."""
    return image.float() / 255 if image.dtype == torch.uint8 else image
