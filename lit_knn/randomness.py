"""Random numbers of each image, the same in any batch, in any process and on any device."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

DRAWN = torch.float32  # whatever PyTorch's default is: Lightning changes it within the steps of a loop, for `64-true`


class Randomness:
    """A stream of random numbers for each image, keyed by (seed, id, purpose, draw).

    Streams of different keys are independent. One goes on from call to call. Numbers are drawn on the CPU, so that they
    are the same on any device.

    Args:
        seed: Of all streams.
        ids: ``(N,)`` int64, of the images.
        purpose: What the numbers are for: whoever needs some of their own has a purpose of their own.
        draw: Number of the draw for this purpose, from 0.
    """

    def __init__(self, seed: int, ids: Tensor, purpose: str = "", draw: int = 0) -> None:
        self.seed, self.ids, self.purpose, self.draw = seed, ids, purpose, draw

    @cached_property
    def _generators(self) -> list[torch.Generator]:
        end = f"{self.draw}/{self.purpose}" if self.purpose else f"{self.draw}"
        keys = [
            hashlib.blake2b(f"{self.seed}/{number}/{end}".encode(), digest_size=7).digest()
            for number in self.ids.tolist()
        ]
        return [torch.Generator().manual_seed(int.from_bytes(key, "little")) for key in keys]

    def of(self, purpose: str, draw: int = 0) -> Randomness:
        """Return the streams of the same images for a purpose within this one, from their beginning."""
        within = f"{self.purpose} {self.draw}/" if self.purpose else ""
        return Randomness(self.seed, self.ids, within + purpose, draw)

    def among(self, chosen: Tensor) -> Randomness:
        """Return the streams of some of the images, ``(N,)`` bool, from their beginning."""
        return Randomness(self.seed, self.ids[chosen.to(self.ids.device)], self.purpose, self.draw)

    def uniform(self, like: Tensor, *shape: int) -> Tensor:
        """Return numbers in [0, 1), ``(N, *shape)``: one per image by default; device and dtype of ``like``."""
        return self._each(lambda generator: torch.rand(shape, generator=generator, dtype=DRAWN)).to(like)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Return integers in [0, high), ``(N, *shape)`` int64 on the device of the ids: one per image by default."""
        return self._each(lambda generator: torch.randint(high, shape, generator=generator)).to(self.ids)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers in the shape ``(N, ...)``, device and dtype of ``like``."""
        shape = like.shape[1:]
        return self._each(lambda generator: torch.randn(shape, generator=generator, dtype=DRAWN)).to(like)

    def direction(self, like: Tensor) -> Tensor:
        """Return one uniform direction per image, ``(N, 3, H, W)`` of L2 norm 1, device and dtype of ``like``."""
        normal = self.normal(like)
        length: Tensor = torch.linalg.vector_norm(normal.flatten(1), dim=1)
        return normal / length.view(-1, 1, 1, 1)

    def _each(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(generator) for generator in self._generators])


def run_seed() -> int:
    """Return what `seed_everything` was called with, 0 if it was not: the seed of all that a run draws for defenses."""
    return int(os.environ.get("PL_GLOBAL_SEED", "0"))
