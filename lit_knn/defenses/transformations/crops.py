"""A part of the image, enlarged to the size of the whole."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.defenses.transformations.base import Transformation
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

GRID = 3  # crops side by side


class Crop(Transformation):
    """What crops share: their size, and that they are enlarged bilinearly to that of the image.

    A crop of a square image is square; of another one it has the image's shape, so that nothing is distorted.

    Args:
        size: Height by the image's height, width by its width, above 0 and at most 1.

    References:
        Guo et al. 2018, Sections 3.1 and 5.1: crops of 90 × 90 from 224 × 224 pixels.

    Differences from the paper:
        Its code rounds sizes down, and enlarges an image of 8 bits.
    """

    differentiable = True
    keeps_size = True

    def __init__(self, *, size: float = 90 / 224) -> None:
        if not 0 < size <= 1:
            raise UserError(f"{type(self).__name__} has size: {size}; a share above 0 and at most 1 is accepted")
        self.size = size

    @abstractmethod
    def _corners(self, free: tuple[int, int], randomness: Randomness) -> tuple[Tensor, Tensor]:
        """Return the first row and column of each image's crop, ``(N,)`` or ``(1,)`` int64 each.

        Args:
            free: The last ones that there can be.
            randomness: Of the images.
        """

    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return enlarged crops ``(N, 3, H, W)``.

        Raises:
            UserError: If a crop would have no pixel.
        """
        whole = (image.shape[2], image.shape[3])
        height, width = (round(self.size * side) for side in whole)
        if not (height and width):
            raise UserError(
                f"{type(self).__name__} takes {self.size:.3g} of each side, less than half a pixel of an image of "
                f"{whole[0]}×{whole[1]} pixels: raise its size"
            )
        tops, lefts = self._corners((whole[0] - height, whole[1] - width), randomness)
        rows = (tops.to(image.device)[:, None] + torch.arange(height, device=image.device))[:, :, None]  # (N, h, 1)
        columns = (lefts.to(image.device)[:, None] + torch.arange(width, device=image.device))[:, None]  # (N, 1, w)
        images = torch.arange(len(image), device=image.device)[:, None, None]
        crop = image.movedim(1, 3)[images, rows, columns].movedim(3, 1)  # (N, 3, h, w)
        return F.interpolate(crop, whole, mode="bilinear")


class RandomCrop(Crop):
    """A part of the image from anywhere in it, enlarged to the size of the whole; see `Crop`.

    The paper's ensemble is ``TransformedClassifier(transformation=RandomCrop(), draws=30)``.

    Args:
        size: Height by the image's height, width by its width, above 0 and at most 1.
    """

    name = "crop"

    def __init__(self, *, size: float = 90 / 224) -> None:
        super().__init__(size=size)

    def _corners(self, free: tuple[int, int], randomness: Randomness) -> tuple[Tensor, Tensor]:
        return randomness.integers(free[0] + 1), randomness.integers(free[1] + 1)


class GridCrop(Crop):
    """The nine parts of the image with corners on a grid of 3 × 3, from edge to edge, enlarged; see `Crop`.

    Nothing is random: draw d of nine takes the part in row d // 3 and column d mod 3.

    Args:
        size: Height by the image's height, width by its width, above 0 and at most 1.
    """

    name = "grid crop"
    random = False
    views = GRID**2

    def __init__(self, *, size: float = 90 / 224) -> None:
        super().__init__(size=size)

    def _corners(self, free: tuple[int, int], randomness: Randomness) -> tuple[Tensor, Tensor]:
        place = divmod(randomness.draw % self.views, GRID)
        top, left = (torch.tensor([last * number // (GRID - 1)]) for last, number in zip(free, place, strict=True))
        return top, left
