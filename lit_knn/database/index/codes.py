"""Vectors as whole numbers of eight bits, whose products are fast, exact, and say which rows may be among the nearest.

Vectors are turned by one rotation, so that no dimension is much longer than the others, and rounded to the points of
a grid. By the triangle inequality two vectors are as far apart as their points, up to how far each is from its point.
What may be nearest by that is looked at again: `lit_knn.database.index.exact` says what is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lit_knn.backbones import full_float32
from lit_knn.database.index.exact import UNIT

LEVEL = 127  # the largest code
MULTIPLE = 8  # of dimensions and queries, for GPUs
FEWEST = 17  # rows that a GPU multiplies as whole numbers
GROUP = 16  # rows of which only the largest product is compared at first
NEVER = 1 << 30  # more than any product, and half of the squared length of any codes, of up to 40,000 dimensions
BINS = 1024
PENDING = 1 << 18  # pairs that wait for a closer limit


def rotation(dimension: int) -> Tensor:
    """Return a rotation ``(D, D)`` float32, at random and always the same."""
    normal = np.random.RandomState(0).standard_normal((dimension, dimension))  # NumPy froze this generator
    return torch.from_numpy(np.linalg.qr(normal)[0]).float()


@dataclass(frozen=True)
class Grid:
    """Points that vectors are rounded to.

    Attributes:
        turn: The rotation, ``(D, D)`` float32.
        step: Between neighboring points in a dimension.
    """

    turn: Tensor
    step: float

    @classmethod
    def over(cls, vectors: Tensor) -> Grid:
        """Return the finest grid that reaches as far as vectors ``(n, D)``."""
        turn = rotation(vectors.shape[1]).to(vectors.device)
        farthest = float(_turned(vectors, turn).abs().max()) if len(vectors) else 0
        return cls(turn, farthest / LEVEL or 1.0)

    def encode(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the points of vectors, and how far from them these may be.

        Args:
            vectors: ``(n, D)`` float32.

        Returns:
            Points ``(n, D')`` int8, zeros added up to a multiple of 8; distances ``(n,)`` float64 in steps; and whether
            the grid does not reach as far, ``(n,)`` bool.
        """
        scaled = _turned(vectors, self.turn).div_(self.step)
        codes = scaled.round()
        beyond = codes.abs().amax(dim=1) > LEVEL
        codes.clamp_(-LEVEL, LEVEL)
        dimension = vectors.shape[1]
        rounding = dimension**1.5 * UNIT / self.step * vectors.norm(dim=1).double()  # of the rotation, above all
        errors = scaled.sub_(codes).norm(dim=1).double() + rounding
        return torch.nn.functional.pad(codes.to(torch.int8), (0, -dimension % MULTIPLE)), errors, beyond


def _turned(vectors: Tensor, turn: Tensor) -> Tensor:
    with full_float32(vectors.device):
        return vectors @ turn


def squares(codes: Tensor) -> Tensor:
    """Return the squared lengths ``(n,)`` int32 of codes ``(n, D)``."""
    return codes.to(torch.int32).square_().sum(dim=1, dtype=torch.int32)


def product_dtype(device: torch.device, dimension: int) -> torch.dtype:
    """Return in which dtype products of codes of D dimensions are fastest, of those that hold them."""
    if device.type == "cuda" or torch.cpu._is_vnni_supported():
        return torch.int32
    return torch.float32 if dimension * LEVEL**2 < 2**24 else torch.float64


def multiply(rows: Tensor, queries: Tensor, out: Tensor) -> None:
    """Write the products of codes ``(n, D)`` and ``(D, N)`` to ``(n, N)`` of `product_dtype`."""
    if out.dtype == torch.int32 and (rows.device.type == "cpu" or len(rows) >= FEWEST):
        torch._int_mm(rows, queries, out=out)
        return
    dtype = out.dtype if out.is_floating_point() else torch.float64
    with full_float32(rows.device):
        out.copy_(rows.to(dtype) @ queries.to(dtype))


def _groups(rows: Tensor) -> Tensor:
    return rows.view(-1, GROUP, *rows.shape[1:])


class Sieve:
    """The pairs of a query and a row that passes by, of which the row may be among the query's k nearest.

    Args:
        codes: ``(N, D)`` int8, of the queries.
        slack: ``(N,)`` float64, how much farther than their points query and any row may be, in steps.
        k: How many.
        most: How many rows one query may have; one with more has none at all, and is `crowded`.

    Attributes:
        crowded: ``(N,)`` bool.
        query: ``(P,)`` int64, the query of each pair.
        row: ``(P,)`` int64, where the row is.
        squared: ``(P,)`` int64, the squared distance of their points, in squared steps.
    """

    def __init__(self, codes: Tensor, slack: Tensor, k: int, most: int) -> None:
        self._count, self._slack, self._k, self._most = len(codes), slack, k, most
        padded = torch.nn.functional.pad(codes, (0, 0, 0, -len(codes) % MULTIPLE))
        self._codes = padded.T.contiguous() if codes.device.type == "cpu" else padded.T  # (D, N'): what is fastest
        self._dtype = product_dtype(codes.device, codes.shape[1])
        self._squares = squares(codes).long()
        self._limit = torch.full_like(slack, torch.inf)  # of `squared`
        self._within_k = self._limit
        self.crowded = torch.zeros_like(slack, dtype=torch.bool)
        none = torch.empty(0, dtype=torch.int64, device=codes.device)
        self.query, self.row, self.squared = none, none, none
        self._passed: list[tuple[Tensor, Tensor, Tensor]] = []
        self._pending = 0
        self._set_least()

    def expect(self, codes: Tensor, squares: Tensor) -> None:
        """Set a first limit by some of the rows that will be compared, whichever; none is kept.

        Args:
            codes: ``(n, D)`` int8.
            squares: ``(n,)`` int32, their squared lengths.
        """
        if len(codes) < self._k:
            return
        products = torch.empty((len(codes), self._codes.shape[1]), dtype=self._dtype, device=codes.device)
        multiply(codes, self._codes, out=products)
        near = products[:, : self._count] - (squares >> 1)[:, None]  # at most half too large
        last = near.T.topk(self._k, dim=1, sorted=False).values.amin(dim=1)
        self._limit = self.reach((self._squares + 1 - 2 * last.long()).double().sqrt() + self._slack)
        self._set_least()

    def compare(self, codes: Tensor, squares: Tensor, tiles: Sequence[range]) -> None:
        """Look at some rows, fastest where those next to each other are about as long.

        Args:
            codes: ``(M, D)`` int8.
            squares: ``(M,)`` int32, their squared lengths.
            tiles: Which of them.
        """
        sizes = [len(tile) + -len(tile) % GROUP for tile in tiles]
        found = torch.empty((sum(sizes), self._codes.shape[1]), dtype=self._dtype, device=codes.device)
        largest, shortest = [], []
        for tile, part in zip(tiles, found.split(sizes), strict=True):
            rows = slice(tile.start, tile.stop)
            multiply(codes[rows], self._codes, out=part[: len(tile)])
            part[len(tile) :] = -2 * NEVER
            largest.append(_groups(part).amax(dim=1))
            padded = torch.nn.functional.pad(squares[rows], (0, len(part) - len(tile)), value=NEVER)
            shortest.append(_groups(padded).amin(dim=1))
        found = _groups(found)  # (G, 16, N')
        least = self._least + (torch.cat(shortest)[:, None] >> 1)  # (G, N')
        group, query = (torch.cat(largest) >= least).nonzero(as_tuple=True)  # much faster than to compare all
        which, row = (found[group, :, query] >= least[group, query, None]).nonzero(as_tuple=True)
        if not len(which):
            return
        group, query = group[which], query[which]
        product = found[group, row, query]
        first = torch.cat([torch.arange(tile.start, tile.stop, GROUP, device=codes.device) for tile in tiles])
        row += first[group]
        squared = squares[row].long() + self._squares[query] - 2 * product.long()
        self._passed.append((query, row, squared))
        self._pending += len(query)
        if self._pending > PENDING:
            self.tighten()

    @property
    def likely(self) -> Tensor:
        """Whether each row is among the k nearest by their points, or hardly farther, ``(P,)`` bool."""
        return self.squared <= self._within_k.index_select(0, self.query)

    def tighten(self) -> None:
        """Let go of what can no longer be near enough."""
        pairs = zip((self.query, self.row, self.squared), *self._passed, strict=True)
        query, row, squared = (torch.cat(part) for part in pairs)
        self._passed, self._pending = [], 0
        self._within_k = self._smallest(query, squared)
        self._limit = torch.minimum(self._limit, self.reach(self._within_k.sqrt() + self._slack))
        kept = (squared <= self._limit.index_select(0, query)).nonzero()[:, 0]
        self.query, self.row, self.squared = (part.index_select(0, kept) for part in (query, row, squared))
        self.crowded |= self.query.bincount(minlength=self._count) > self._most
        if self.crowded.any():
            kept = (~self.crowded[self.query]).nonzero()[:, 0]
            self.query, self.row, self.squared = self.query[kept], self.row[kept], self.squared[kept]
        self._set_least()

    def _smallest(self, query: Tensor, squared: Tensor) -> Tensor:
        """Return up to which value ``(N,)`` each query has k pairs and few more; infinite where it has fewer."""
        largest = torch.zeros_like(self._limit).scatter_reduce(0, query, squared.double(), "amax") + 1
        bins = (squared * (BINS / largest).index_select(0, query)).long()  # counting is faster than sorting
        counts = (query * BINS + bins).bincount(minlength=self._count * BINS).view(-1, BINS).cumsum(dim=1)
        last = (counts < self._k).sum(dim=1)  # BINS where there are fewer than k
        return torch.where(last < BINS, (last + 1) / BINS * largest, torch.inf)

    def reach(self, distances: Tensor) -> Tensor:
        """Return up to which ``squared`` a row may be as near as distances ``(N,)`` in steps, rounded to float32."""
        return (distances * (1 + UNIT) + self._slack).square() * (1 + UNIT)

    def _set_least(self) -> None:
        """A row of squared length s is near enough if its product with the query is at least this and ⌊s/2⌋."""
        least = ((self._squares - self._limit) / 2).floor().clamp(-NEVER, NEVER)
        least[self.crowded] = NEVER
        padding = least.new_full((-self._count % MULTIPLE,), NEVER)
        self._least = torch.cat([least, padding]).to(torch.int32)
