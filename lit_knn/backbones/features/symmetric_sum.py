"""Sums of outer products of integers, without rounding and without their mirror image.

Most products are taken in float32, at twice the speed of float64 and just as exactly. Below 2²⁴ float32 has all
integers; and by Cauchy–Schwarz, where no column's sum of squares over some rows reaches 2²⁴, neither does the sum of
products of any two columns, nor any part of that sum, in whatever order it is taken. Rows for which that does not hold
are multiplied in float64, which has all integers below 2⁵³.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_knn.backbones.precision import full_float32

EXACT_FLOAT32, EXACT = 2.0**24, 2.0**53
FEWEST = 256  # rows that are rather multiplied in float64 than fewer at once
BLOCK, WIDTH = 256, 4096  # rows and columns of the sums that are computed at once: float32 products stay in the cache


class Triangle:
    """The symmetric matrix ``Σ x·xᵀ`` over rows ``x`` of integers, as blocks of its upper triangle.

    Args:
        size: ``D``, of a row.
        device: Where the sums lie; about ``4·D²`` bytes.

    Attributes:
        values: Flat float64. Blocks of 256 rows follow each other, each from its own first column to the last:
            ``(256, D)``, ``(256, D − 256)``, …; a block's few entries below the diagonal are there, too.
    """

    def __init__(self, size: int, device: torch.device | str) -> None:
        shapes = [(min(BLOCK, size - start), size - start) for start in range(0, size, BLOCK)]
        self.values = torch.zeros(sum(map(math.prod, shapes)), dtype=torch.float64, device=device)
        parts = self.values.split([math.prod(shape) for shape in shapes])
        blocks = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        self._size = size
        self._blocks = list(zip(range(0, size, BLOCK), blocks, strict=True))

    def add(self, rows: Tensor) -> None:
        """Add the outer products of ``(n, D)`` float32 integers."""
        with full_float32(rows.device):
            self._add(rows)

    def _add(self, rows: Tensor) -> None:
        exact = bool(rows.square().sum(dim=0, dtype=torch.float64).max() < EXACT_FLOAT32)
        if not exact and len(rows) > FEWEST:
            for half in rows.chunk(2):
                self._add(half)
            return
        rows = rows if exact else rows.double()
        for start, block in self._blocks:
            left, rest = rows[:, start : start + BLOCK].T, rows[:, start:]
            for sums, right in zip(block.split(WIDTH, dim=1), rest.split(WIDTH, dim=1), strict=True):
                sums += left @ right

    def is_exact(self) -> bool:
        """Tell whether no sum can have been rounded: none exceeds the largest on the diagonal, by Cauchy–Schwarz."""
        return all(block.diagonal().max() < EXACT for _, block in self._blocks)

    def matrix(self) -> Tensor:
        """Return all of it, ``(D, D)`` float64."""
        result = self.values.new_empty(self._size, self._size)
        for start, block in self._blocks:
            result[start : start + BLOCK, start:] = block
            result[start:, start : start + BLOCK] = block.T
        return result

    def times(self, basis: Tensor) -> Tensor:
        """Multiply by ``(D, k)`` float64, reading each block once."""
        result = torch.zeros_like(basis)
        for start, block in self._blocks:
            stop = start + len(block)
            result[start:stop].addmm_(block, basis[start:])
            result[stop:].addmm_(block[:, len(block) :].T, basis[start:stop])
        return result
