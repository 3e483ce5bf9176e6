"""Resize and crop, as published accuracies were measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lit_knn.data.decoding import ImageError
from lit_knn.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Bring images to one size; ImageNet's classic is ``{resize: 256, crop: 224}``.

    Args:
        resize: Pixels of the shorter side after antialiased resizing; null keeps the size.
        crop: Side of the square cut from the center, in pixels; null cuts nothing.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    resize: int | None = None
    crop: int | None = None
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        for name, side in (("resize", self.resize), ("crop", self.crop)):
            if side is not None and side < 1:
                raise UserError(f"preprocessing.{name} is {side}: accepted are 1 pixel and more, or null")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise UserError(f"preprocessing.interpolation is {self.interpolation!r}: accepted are bilinear and bicubic")
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise UserError(f"preprocessing.crop ({self.crop}) is larger than preprocessing.resize ({self.resize})")

    def __call__(self, image: Tensor) -> Tensor:
        """Return ``(3, h, w)`` of ``(3, H, W)``, uint8 or float in [0, 1], in the same dtype.

        Raises:
            ImageError: If the image is smaller than the crop, or so narrow that resizing it would fill the memory.
        """
        height, width = image.shape[1:]
        if self.resize is not None and self.resize != min(height, width):
            shape = height, width
            height, width = (self.resize * side // min(shape) for side in shape)
            if height * width > (Image.MAX_IMAGE_PIXELS or float("inf")):
                raise ImageError(f"the image of {shape[0]}×{shape[1]} pixels is too narrow to resize it")
            image = F.interpolate(image[None], (height, width), mode=self.interpolation, antialias=True)[0]
            if image.is_floating_point():
                image = image.clamp(0, 1)  # bicubic weights overshoot; uint8 saturates by itself
        if self.crop is not None:
            if min(height, width) < self.crop:
                raise ImageError(f"the image of {height}×{width} pixels is smaller than preprocessing.crop {self.crop}")
            top, left = (round((side - self.crop) / 2) for side in (height, width))  # as torchvision rounds
            image = image[:, top : top + self.crop, left : left + self.crop]
        return image

    def identity(self) -> str:
        """Return all that changes a pixel, for fingerprints."""
        return f"resize={self.resize},crop={self.crop},{self.interpolation}"
