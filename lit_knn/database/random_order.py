"""A random order of the rows of a store: where a row stands is computed, and no list of them is kept.

So the views of 10⁹ rows cost a bit for each row, and not the eight bytes of a permutation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lit_knn.database.index.selection import Selection, Window

ROUNDS = 8  # of the Feistel network; from four on it is a pseudo-random permutation (Luby and Rackoff 1988)
BLOCK = 1 << 16  # rows at a time, a multiple of 8; they stay in the processor's cache


class RandomOrder:
    """A permutation of M rows, the same on every machine.

    A Feistel network permutes the numbers of the next power of two; what lands beyond M is sent through it again until
    it does not (cycle walking: Black and Rogaway 2002), less than once on average.

    Args:
        rows: M, up to 2⁶².
        seed: Another one is another order.
    """

    def __init__(self, rows: int, seed: int) -> None:
        bits = max(2, (rows - 1).bit_length())
        self.rows, self.seed = rows, seed
        self._low = np.uint64(bits // 2)
        self._low_mask, self._high_mask = (np.uint32((1 << part) - 1) for part in (bits // 2, bits - bits // 2))
        self._keys = np.random.SeedSequence(seed).generate_state(ROUNDS, np.uint32)

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where rows ``(n,)`` stand in the order, each in [0, M)."""
        found = self._permuted(rows.astype(np.uint64))
        while len(beyond := np.flatnonzero(found >= self.rows)):
            found[beyond] = self._permuted(found[beyond])
        return found.astype(np.int64)

    def selections(self, windows: Sequence[tuple[int, int]]) -> list[Selection]:
        """Return, for each ``(start, stop)``, the rows that stand there; each row is looked at once."""
        parts: list[list[NDArray[np.uint8]]] = [[] for _ in windows]
        for first in range(0, self.rows, BLOCK):
            positions = self.positions(np.arange(first, min(first + BLOCK, self.rows)))
            for part, (start, stop) in zip(parts, windows, strict=True):
                part.append(np.packbits((start <= positions) & (positions < stop), bitorder="little"))
        return [
            Selection(np.concatenate(part), stop - start, Window(self.seed, start, stop))
            for part, (start, stop) in zip(parts, windows, strict=True)
        ]

    def _permuted(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low, high = numbers.astype(np.uint32) & self._low_mask, (numbers >> self._low).astype(np.uint32)
        for number, key in enumerate(self._keys):
            if number % 2:
                high ^= _mixed(low, key) & self._high_mask
            else:
                low ^= _mixed(high, key) & self._low_mask
        return (high.astype(np.uint64) << self._low) | low


def _mixed(half: NDArray[np.uint32], key: Any) -> NDArray[np.uint32]:
    """Return a hash of each number: the finalizer of MurmurHash3 (Appleby 2011)."""
    mixed: NDArray[np.uint32] = half + key
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return mixed
