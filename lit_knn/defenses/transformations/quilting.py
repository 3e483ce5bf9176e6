"""An image put together from patches of other images."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.database.patches import PatchDatabase
from lit_knn.defenses.requirements import Requirements
from lit_knn.defenses.transformations.base import Transformation
from lit_knn.defenses.transformations.seams import joined
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

Draw = tuple[int | str, ...]  # what tells streams of random numbers for the same images from each other


class Quilting(Transformation):
    """Replace each patch of a grid by a similar one of the database, and join them along seams of minimum error.

    It has no gradient. As it returns about what it is given, in the same size, attackers follow the identity's:
    :class:`BPDA`.

    Cost:
        A search among the patches for every ``(S − overlap)²`` pixels, which is nearly all of it; more draws of the
        same images share it.

    Args:
        patches: Where they come from; ``lit-knn index`` draws them from the images of ``model.database``.
        k: Each patch is replaced by one of its K nearest, drawn at random.
        overlap: Rows and columns that patches share with their neighbors, from 1 to half of their side.

    References:
        Guo et al. 2018, Section 3.4, with 10⁶ patches of 5×5 pixels, overlap 2, and K = 10; Efros and Freeman 2001.

    Differences from the paper:
        Seams are those of Efros and Freeman, found by dynamic programming. The graph cut of the paper's code has no
        source, so that each patch overwrites what it meets; in Athalye et al.'s, only the next pixel is looked at. A
        last row or column of patches is moved inwards where the grid would leave a border, which the paper's code
        leaves black, and only what the grid has left uncovered is taken from it, with the same overlap.
    """

    keeps_size = True
    name = "quilting"

    def __init__(self, *, patches: PatchDatabase | None = None, k: int = 10, overlap: int = 2) -> None:
        self.patches = PatchDatabase() if patches is None else patches
        if not 1 <= k <= self.patches.count:
            raise UserError(f"Quilting has k: {k}; 1 to the {self.patches.count:,} patches are accepted")
        if not 1 <= overlap <= self.patches.size // 2:
            raise UserError(
                f"Quilting has overlap: {overlap}; 1 to {self.patches.size // 2}, half of a patch, are accepted"
            )
        self.k, self.overlap, self.random = k, overlap, k > 1
        self._last: tuple[Tensor, Draw, Tensor] | None = None

    def requirements(self) -> Requirements:
        """The image and the patches."""
        return Requirements(resources=[self.patches])

    @torch.no_grad()
    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return quilts ``(N, 3, H, W)``, whose pixels are those of images of the database.

        Raises:
            UserError: If the images are smaller than a patch.
        """
        size, (height, width) = self.patches.size, image.shape[2:]
        if min(height, width) < size:
            raise UserError(f"Quilting takes images from {size}×{size} pixels, a patch, not of {height}×{width}")
        step = size - self.overlap
        tops, lefts = starts(height, size, step), starts(width, size, step)
        nearest = self._nearest(image, randomness, tops, lefts)  # (N, A·B, K)
        if self.random:
            drawn = randomness.integers(self.k, nearest.shape[1]).to(nearest.device)
            nearest = nearest.gather(2, drawn[..., None])
        patches = self.patches.vectors(nearest[..., 0]).to(image)  # (N, A·B, 3·S·S)
        patches = patches.view(len(image), len(tops), len(lefts), 3, size, size)
        _uncover(patches[:, -1].transpose(-1, -2), step * (len(tops) - 1) - tops[-1])
        _uncover(patches[:, :, -1], step * (len(lefts) - 1) - lefts[-1])
        return joined(patches, self.overlap)[..., :height, :width].contiguous()

    def _nearest(self, image: Tensor, randomness: Randomness, tops: list[int], lefts: list[int]) -> Tensor:
        """Return the K nearest patches ``(N, A·B, K)`` of those of a grid; for other draws of one batch, as found once.

        What is asked again altogether is searched again: someone may be measuring how long that takes.
        """
        draw = (randomness.seed, randomness.purpose, randomness.draw) if self.random else ()
        if self._last is not None and draw != self._last[1] and _same(self._last[0], image):
            return self._last[2]
        inside = torch.arange(self.patches.size)
        rows = (torch.tensor(tops)[:, None] + inside)[:, None, :, None].to(image.device)  # (A, 1, S, 1)
        columns = (torch.tensor(lefts)[:, None] + inside)[:, None, :].to(image.device)  # (B, 1, S)
        patches = image[:, :, rows, columns].permute(0, 2, 3, 1, 4, 5)  # (N, A, B, 3, S, S)
        found = self.patches.nearest(patches.reshape(len(image), len(tops) * len(lefts), -1), self.k)
        self._last = image.clone(), draw, found
        return found


def starts(side: int, size: int, step: int) -> list[int]:
    """Return where the patches of a row begin, every ``step`` pixels; the last one ends where the image does."""
    return [*range(0, side - size, step), side - size]


def _uncover(patches: Tensor, shift: int) -> None:
    """Move patches ``(..., S)`` that were taken ``shift`` pixels before their place in the grid there, in place."""
    if shift:
        patches[..., :-shift] = patches[..., shift:].clone()
        patches[..., -shift:] = 0  # beyond the image, like what they meet there


def _same(first: Tensor, second: Tensor) -> bool:
    alike = (first.shape, first.dtype, first.device) == (second.shape, second.dtype, second.device)
    return alike and torch.equal(first, second)
