"""Many small pictures as one file, for the neighbor inspector of a report."""

from __future__ import annotations

import io
from collections.abc import Hashable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lit_knn.report.results.inspected import COLUMNS
from lit_knn.storage.atomic import atomic_write
from lit_knn.storage.fingerprint import digest

SIDE = 160  # pixels: what is larger is scaled down
SMALL = 64  # pixels: up to which nothing is lost
BLOCK = 8  # pixels that JPEG compresses together


class PictureSheet:
    """Pictures in rows of `COLUMNS`, each once.

    Args:
        shape: Height and width of the first picture; all others are scaled to what it is scaled to.

    Attributes:
        size: Width and height of a picture in the sheet, at most `SIDE` each.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        height, width = shape
        self._small = max(shape) <= SMALL
        scale = min(1.0, SIDE / max(shape))
        scaled = [max(BLOCK, round(scale * side / BLOCK) * BLOCK) for side in (width, height)]
        self.size = (width, height) if self._small else (scaled[0], scaled[1])
        self._places: dict[Hashable, int] = {}
        self._pictures: list[Image.Image] = []

    def add(self, key: Hashable, image: NDArray[np.uint8]) -> int:
        """Take a picture ``(3, H, W)`` unless one of this key is there, and return its number."""
        if key not in self._places:
            self._places[key] = len(self._pictures)
            picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
            resample = Image.Resampling.NEAREST if self._small else Image.Resampling.BILINEAR
            self._pictures.append(picture if picture.size == self.size else picture.resize(self.size, resample))
        return self._places[key]

    def save(self, folder: Path) -> str:
        """Write all of it into a folder, PNG where pictures are small, else JPEG; return its name, from its content."""
        width, height = self.size
        sheet = Image.new(
            "RGB", (width * min(COLUMNS, len(self._pictures)), height * -(-len(self._pictures) // COLUMNS))
        )
        for number, picture in enumerate(self._pictures):
            sheet.paste(picture, (number % COLUMNS * width, number // COLUMNS * height))
        content = io.BytesIO()
        if self._small:
            sheet.save(content, "PNG", optimize=True)
        else:
            sheet.save(content, "JPEG", quality=85, subsampling=0)  # colors, too, end at each picture's edge
        name = f"{digest(content.getvalue().hex())}.{'png' if self._small else 'jpg'}"
        with atomic_write(folder / name) as unfinished:
            unfinished.write_bytes(content.getvalue())
        return name
