"""An image put together from patches of other images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lit_knn.database.patches import PatchDatabase
from lit_knn.defenses.requirements import Requirements
from lit_knn.defenses.transformations.base import Transformation
from lit_knn.defenses.transformations.seams import joined
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

CANDIDATES = 20  # patches whose average attackers climb
LEAST = 1e-4  # squared distance: that of patches of which each byte is one apart
Draw = tuple[int | str, ...]  # what tells streams of random numbers for the same images from each other


class Quilting(Transformation):
    """Replace each patch of a grid by a similar one of the database, and join them along seams of minimum error.

    It has no gradient. Attackers take that of averages of the nearest patches (`BPDA`): with the identity's, an
    attack on the package's digits at Δ = .2 leaves .80 where this one leaves .43.

    Cost:
        A search among the patches for every ``(S − overlap)²`` pixels, which is nearly all of it; more draws of the
        same images share it. Attackers search twice, for K and for 20 patches.

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
        self._softened: tuple[Tensor, Softened] | None = None

    def requirements(self) -> Requirements:
        """The image and the patches."""
        return Requirements(resources=[self.patches])

    @torch.no_grad()
    def __call__(self, image: Tensor, randomness: Randomness) -> Tensor:
        """Return quilts ``(N, 3, H, W)``, whose pixels are those of images of the database.

        Raises:
            UserError: If the images are smaller than a patch.
        """
        tops, lefts = self._grid(image)
        nearest = self._nearest(image, randomness, tops, lefts)  # (N, A·B, K)
        if self.random:
            drawn = randomness.integers(self.k, nearest.shape[1]).to(nearest.device)
            nearest = nearest.gather(2, drawn[..., None])
        patches = self.patches.vectors(nearest[..., 0]).to(image)  # (N, A·B, 3·S·S)
        size, step = self.patches.size, self.patches.size - self.overlap
        patches = patches.view(len(image), len(tops), len(lefts), 3, size, size)
        _uncover(patches[:, -1].transpose(-1, -2), step * (len(tops) - 1) - tops[-1])
        _uncover(patches[:, :, -1], step * (len(lefts) - 1) - lefts[-1])
        return joined(patches, self.overlap)[..., : image.shape[2], : image.shape[3]].contiguous()

    def near(self, image: Tensor) -> Tensor:
        """Return a quilt of averages: of the 20 nearest patches of each, and of all patches that cover a pixel.

        A nearer patch counts more, by ``exp(−d² / T)``, d its distance and T the mean of the d² of these 20: so the
        gradient is along what tells similar patches from each other, and a change along it is likely to choose another.
        Draws of the same images share all but the gradient, which looks the 20 patches up again, image by image.
        """
        tops, lefts = self._grid(image)
        place = _places(tops, lefts, self.patches.size, image.shape[3]).to(image.device)  # (A·B, S·S)
        patches = _cut(image, place)  # (N, A·B, 3·S·S)
        if self._softened is None or not _same(self._softened[0], image):
            self._softened = image.detach().clone(), self._soften(patches.detach())
        average = cast(Tensor, _Average.apply(patches, self._softened[1], self.patches.vectors))
        layers = average.view(len(image), len(place), 3, -1).transpose(1, 2).flatten(2)  # (N, 3, A·B·S·S)
        flat = torch.zeros_like(image).flatten(2).index_add(2, place.flatten(), layers)
        covered = place.flatten().bincount(minlength=flat.shape[2])
        return (flat / covered).view_as(image)

    @torch.no_grad()
    def _soften(self, patches: Tensor) -> Softened:
        """Return what averages of patches ``(N, L, D)`` are made of."""
        ids = self.patches.nearest(patches, min(CANDIDATES, self.patches.count))  # (N, L, K)
        parts = []
        for image, near in zip(patches, ids, strict=True):
            known = self.patches.vectors(near).to(image)  # (L, K, D)
            squared = (image[:, None] - known).square_().sum(dim=2)
            scale = squared.mean(dim=1, keepdim=True).clamp_min(LEAST)
            weights = (-squared / scale).softmax(dim=1)
            parts.append((weights, scale, (weights[:, None] @ known)[:, 0]))
        return Softened(ids, *map(torch.stack, zip(*parts, strict=True)))

    def _nearest(self, image: Tensor, randomness: Randomness, tops: list[int], lefts: list[int]) -> Tensor:
        """Return the K nearest patches ``(N, A·B, K)`` of those of a grid; for other draws of one batch, as found once.

        What is asked again altogether is searched again: someone may be measuring how long that takes.
        """
        draw = (randomness.seed, randomness.purpose, randomness.draw) if self.random else ()
        if self._last is not None and draw != self._last[1] and _same(self._last[0], image):
            return self._last[2]
        place = _places(tops, lefts, self.patches.size, image.shape[3]).to(image.device)
        found = self.patches.nearest(_cut(image, place), self.k)
        self._last = image.clone(), draw, found
        return found

    def _grid(self, image: Tensor) -> tuple[list[int], list[int]]:
        """Return the first rows and columns of patches.

        Raises:
            UserError: If the images are smaller than a patch.
        """
        size, (height, width) = self.patches.size, image.shape[2:]
        if min(height, width) < size:
            raise UserError(f"Quilting takes images from {size}×{size} pixels, a patch, not of {height}×{width}")
        step = size - self.overlap
        return starts(height, size, step), starts(width, size, step)


class Softened(NamedTuple):
    """Averages of patches, and what their gradient is made of.

    Attributes:
        ids: ``(N, L, K)`` int64, the patches.
        weights: ``(N, L, K)`` float, of sum 1.
        scale: ``(N, L, 1)`` float, the squared distance that they fall with.
        average: ``(N, L, D)`` float.
    """

    ids: Tensor
    weights: Tensor
    scale: Tensor
    average: Tensor


class _Average(torch.autograd.Function):
    """The average of patches near to given ones, with the gradient of its weights."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, softened: Softened, vectors: Callable[[Tensor], Tensor]) -> Tensor:
        del patches
        ctx.softened, ctx.vectors = softened, vectors
        return softened.average.clone()

    @staticmethod
    def backward(ctx: Any, *towards: Tensor) -> tuple[Tensor, None, None]:
        ids, weights, scale, _ = ctx.softened
        parts = []
        for near, weight, along in zip(ids, weights, *towards, strict=True):
            known = ctx.vectors(near).to(along)  # (L, K, D)
            gain = (known @ along[..., None])[..., 0]
            gain = weight * (gain - (weight * gain).sum(dim=1, keepdim=True))
            parts.append((gain[:, None] @ known)[:, 0])
        return 2 / scale * torch.stack(parts), None, None


def starts(side: int, size: int, step: int) -> list[int]:
    """Return where the patches of a row begin, every ``step`` pixels; the last one ends where the image does."""
    return [*range(0, side - size, step), side - size]


def _places(tops: list[int], lefts: list[int], size: int, width: int) -> Tensor:
    """Return which pixels ``(A·B, S·S)`` of a flattened image of some width make each patch of a grid."""
    inside = torch.arange(size)
    rows, columns = (torch.tensor(first)[:, None] + inside for first in (tops, lefts))  # (A, S), (B, S)
    return (rows[:, None, :, None] * width + columns[None, :, None]).flatten(2).flatten(0, 1)


def _cut(image: Tensor, place: Tensor) -> Tensor:
    """Return patches ``(N, A·B, 3·S·S)`` of images ``(N, 3, H, W)``."""
    return image.flatten(2)[:, :, place].transpose(1, 2).flatten(2)


def _uncover(patches: Tensor, shift: int) -> None:
    """Move patches ``(..., S)`` that were taken ``shift`` pixels before their place in the grid there, in place."""
    if shift:
        patches[..., :-shift] = patches[..., shift:].clone()
        patches[..., -shift:] = 0  # beyond the image, like what they meet there


def _same(first: Tensor, second: Tensor) -> bool:
    alike = (first.shape, first.dtype, first.device) == (second.shape, second.dtype, second.device)
    return alike and torch.equal(first, second)
