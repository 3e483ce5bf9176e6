"""A database of its own for each query: a random share of the rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_knn.database.index import Neighbors
from lit_knn.defenses.base import Defense, Variant
from lit_knn.defenses.neighbors.fused_knn import FusedKNN
from lit_knn.defenses.neighbors.knn import KNN
from lit_knn.defenses.query import Query
from lit_knn.defenses.requirements import Requirements
from lit_knn.errors import UserError

KEYS = 2**62
GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # as signed numbers of 64 bits


class RandomDatabase(Defense):
    """Let a kNN search a random part of the rows, another one for each query and each evaluation of it.

    Each row is in the database of a query with probability ``share``, whatever the others are; its database does not
    depend on the image, the tap or K. Nothing is built for it. In a ranking of all rows those of a part of them keep
    their order: so if K of the nearest k' rows of all are in the part, the first K of these are its K nearest rows,
    exactly, as every other row of the part is farther away. ``k' = (K + 4 √K + 8) / share`` rows are looked for, which
    is enough but for less than one query in ten thousand; of such a query more are. Of an approximate index, what it
    finds is thinned. A part of fewer than K rows gets the rows that would be in it next.

    An attacker who knows all of the database, but not which part will be searched, climbs what all parts say on
    average: a row at rank r of all is a neighbor with probability ``share · P(B(r − 1, share) < K)``, which falls from
    ``share`` to 0 around ``K / share``. So white boxes attack a kNN of so many neighbors.

    Cost:
        One forward pass and one search for k' neighbors at each tap, however many draws.

    Args:
        defense: What searches: `KNN` or `FusedKNN`.
        share: Of the rows, above 0 and below 1.
        draws: Parts of the database whose scores are averaged to one answer.
        name: What tables and figures put before the defense's own name; by default the share, and how many draws.

    References:
        Dubey et al. 2019, Section 7, where the defender needs some "data obfuscation"; the attackers of its Section 6
        hold other rows than the defense, which always searches the same.
    """

    random = True
    differentiable = False
    logits = False

    def __init__(self, *, defense: Defense, share: float = 0.5, draws: int = 1, name: str = "") -> None:
        if not isinstance(defense, KNN | FusedKNN):
            raise UserError(f"RandomDatabase has defense: {type(defense).__name__}; KNN and FusedKNN are accepted")
        if not 0 < share < 1 or draws < 1:
            raise UserError(
                f"RandomDatabase has share: {share}, draws: {draws}; shares above 0 and below 1 and draws from 1 are "
                "accepted"
            )
        self.defense: KNN | FusedKNN = defense
        self.share, self.draws = share, draws
        several = f" ×{draws}" if draws > 1 else ""
        self.name = name or f"random {share:g} of rows{several},"

    @property
    def variants(self) -> list[Variant]:
        """Those of the defense."""
        return [variant._replace(defense=f"{self.name} {variant.defense}") for variant in self.defense.variants]

    def requirements(self) -> Requirements:
        """More neighbors than the defense, so that enough are left."""
        required = self.defense.requirements()
        k = max(self.defense.k)
        deep = math.ceil((k + 4 * math.sqrt(k) + 8) / self.share)
        return Requirements(neighbors=dict.fromkeys(required.neighbors, deep), image=False, joined=required.joined)

    def copies(self) -> list[Defense]:
        """Return one around each copy of the defense."""
        return [
            RandomDatabase(defense=copy, share=self.share, draws=self.draws, name=self.name)
            for copy in self.defense.copies()
        ]

    @property
    def reach(self) -> int:
        """How many of all rows, nearest first, are about as many as vote: K / share."""
        return round(max(self.defense.k) / self.share)

    def __call__(self, query: Query) -> Tensor:
        """Return scores ``(V, N, C)`` in the order of ``variants``."""
        scores = [self._answer(query, draw) for draw in range(self.draws)]
        return torch.stack(scores).mean(dim=0)

    def _answer(self, query: Query, draw: int) -> Tensor:
        keys = query.randomness("database", draw).integers(KEYS).to(query.device)  # (N,)
        return self.defense(query.knowing({tap: self._nearest(query, tap, keys) for tap in self.defense.needed}))

    def _nearest(self, query: Query, tap: str, keys: Tensor) -> Neighbors:
        """Return the K nearest rows of each query's own database."""
        k, depth, rows = max(self.defense.k), self.needed[tap], len(query.gallery)
        found = Neighbors(*(part[:, :depth] for part in query.neighbors(tap)))
        near, short = self._thinned(found, keys, k)
        while short.any():
            depth = min(4 * depth, rows)
            some = short.nonzero()[:, 0]
            more = query.gallery.search(tap, query.features(tap)[some], depth)
            more, missing = self._thinned(more, keys[some], k, complete=depth == rows)
            near = Neighbors(*(part.index_copy(0, some, new) for part, new in zip(near, more, strict=True)))
            short = short.index_copy(0, some, missing)
        return near

    def _thinned(self, found: Neighbors, keys: Tensor, k: int, *, complete: bool = False) -> tuple[Neighbors, Tensor]:
        """Return the first k rows ``(N, k)`` that are in the databases of queries, and who has fewer, ``(N,)`` bool.

        Args:
            found: ``(N, K')``, nearest first, K' ≥ k.
            keys: ``(N,)`` int64, of the databases.
            k: How many.
            complete: Whether all rows have been found.
        """
        number = numbers(found.ids, keys)  # (N, K')
        inside = number < self.share
        if complete:
            inside |= number <= number.kthvalue(k, dim=1, keepdim=True).values
        order = (~inside).byte().argsort(dim=1, stable=True)[:, :k]
        return Neighbors(*(part.gather(1, order) for part in found)), inside.sum(dim=1) < k


def numbers(rows: Tensor, keys: Tensor) -> Tensor:
    """Return a number in [0, 1) of each row for each key, as good as random, the same on any device.

    Args:
        rows: ``(N, K)`` int64, from 0.
        keys: ``(N,)`` int64.

    Returns:
        ``(N, K)`` float64: number ``rows`` of the stream that SplitMix64 has for a key.

    References:
        Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", Figure 17.
    """
    mixed = keys[:, None] + (rows + 1) * GOLDEN  # modulo 2⁶⁴, as all that follows
    mixed = (mixed ^ _shifted(mixed, 30)) * FIRST
    mixed = (mixed ^ _shifted(mixed, 27)) * SECOND
    mixed = mixed ^ _shifted(mixed, 31)
    return _shifted(mixed, 11).double() * 2.0**-53


def _shifted(numbers: Tensor, bits: int) -> Tensor:
    """Return numbers of 64 bits shifted to the right, with zeros from the left."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)
