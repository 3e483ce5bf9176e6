"""Encoded bytes to pixels, whatever the file is called and however its pixels are stored."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lit_knn.errors import UserError


class ImageError(UserError):
    """One image that cannot be read; the message tells why, whoever catches it knows which."""


def decode(data: bytes) -> Tensor:
    """Return RGB pixels ``(3, H, W)`` uint8.

    The content decides, not the name: ImageNet has a PNG called .JPEG. CMYK, gray and palette images become RGB, 16-bit
    gray keeps its high byte, alpha is dropped, EXIF orientation is not applied (published accuracies do not either).

    Raises:
        ImageError: If the data is empty, no image, damaged, cut short or absurdly large, or its pixels are floats or
            integers of more than 16 bits.
    """
    if not data:
        raise ImageError("the image is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = _rgb(image)  # (H, W, 3)
    except UnidentifiedImageError as error:
        raise ImageError(f"these {len(data)} bytes are not an image that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"the image is absurdly large ({error})") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"the image is damaged or cut short ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)  # (3, H, W), channels last: resizing is faster


def _rgb(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    # a PGM of more than 8 bits has mode I, scaled from its own maximum to 16 bits
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        gray = (np.array(image) >> 8).astype(np.uint8)  # Pillow's own conversion clips at 255
        return np.repeat(gray[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"the image has floats, or whole numbers of more than 16 bits or with a sign (Pillow's mode {image.mode}): "
            "accepted are 8 and 16 bits"
        )
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # what Pillow asks for; the colors are the same
    return np.array(image.convert("RGB"))
