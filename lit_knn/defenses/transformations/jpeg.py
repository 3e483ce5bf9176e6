"""JPEG: the image as it comes back from a file."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from lit_knn.defenses.transformations.base import Transformation
from lit_knn.defenses.transformations.smooth_jpeg import smooth_jpeg
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness


class JPEG(Transformation):
    """Write the image as JPEG and read it again: 8 bits, colors at half of the resolution (4:2:0), by Pillow.

    It has no gradient. Attackers take that of the same steps with smooth stairs instead of rounding (`BPDA`): the
    identity's would spend a budget on colors that are averaged away, and on coefficients far from the next step.

    Args:
        quality: From 1 to 95.

    Cost:
        Half a millisecond of a CPU core for 224 × 224 pixels, one image after the other; a GPU waits.

    References:
        Dziugaite et al. 2016; Guo et al. 2018, Section 3.2, with a quality of 75.
    """

    random = False
    keeps_size = True

    def __init__(self, *, quality: int = 75) -> None:
        if not 1 <= quality <= 95:
            raise UserError(f"JPEG has quality: {quality}; 1 to 95 are accepted")
        self.quality = quality
        self.name = f"JPEG {quality}"
        self._tables = _tables(quality)

    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return the images as read, ``(N, 3, H, W)``, or of one channel."""
        del randomness
        if image.shape[1] not in (1, 3):
            raise UserError(f"JPEG takes images of 1 or 3 channels, not of {image.shape[1]}")
        stored = (image.detach() * 255).round().clamp(0, 255).to(torch.uint8).movedim(1, 3).cpu().numpy()
        read = np.stack([self._read(pixels) for pixels in stored]).reshape(stored.shape)
        return torch.from_numpy(read).to(image.device).movedim(3, 1).to(image) / 255

    def near(self, image: Tensor) -> Tensor:
        """Return JPEG with smooth stairs instead of rounding."""
        return smooth_jpeg(image, self._tables)

    def _read(self, pixels: np.ndarray) -> np.ndarray:
        """Write and read one image, ``(H, W, 3)`` or ``(H, W, 1)`` uint8."""
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file))


def _tables(quality: int) -> list[Tensor]:
    """Return what coefficients of brightness and color are divided by, ``(8, 8)`` each, as Pillow writes it."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "JPEG", quality=quality)
    file.seek(0)
    return [torch.tensor(table).view(8, 8) for _, table in sorted(JpegImageFile(file).quantization.items())]
