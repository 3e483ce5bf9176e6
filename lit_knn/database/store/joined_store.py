"""A store with further taps: the features of several of its own side by side, which nobody has to store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from lit_knn.database.store.reader import Store
from lit_knn.distributed.partition import WHOLE, Partition


class JoinedStore(Store):
    """The same rows, with more taps to search.

    The feature of such a tap is that of each of its parts times a factor, one after the other: squared distances of the
    parts add up. It is float32 of float16, rounded once, and computed whenever it is read.

    Args:
        store: Whose rows.
        joined: By name of the new tap, the factor of each of its parts, in their order.
    """

    def __init__(self, store: Store, joined: Mapping[str, Mapping[str, float]]) -> None:
        vars(self).update(vars(store))  # what is mapped is not mapped again
        self._joined = joined
        widths = store.schema.dimensions
        dimensions = {name: sum(widths[part] for part in parts) for name, parts in joined.items()}
        self.schema = replace(store.schema, dimensions={**widths, **dimensions})

    def is_half(self, tap: str) -> bool:
        """Return whether float16 holds the features of a tap: not those of a new one."""
        return tap not in self._joined

    def features(self, tap: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return ``(..., D)`` float32 features."""
        if tap not in self._joined:
            return super().features(tap, ids)
        read, factors = super().features, self._joined[tap].items()
        return np.concatenate([read(part, ids) * np.float32(factor) for part, factor in factors], axis=-1)

    def feature_blocks(
        self, tap: str, *, within: range | None = None, share: Partition = WHOLE, rows: int = 16_384
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Yield the first row and ``(n, D)`` float32 features of the blocks that any tap has."""
        if tap not in self._joined:
            yield from super().feature_blocks(tap, within=within, share=share, rows=rows)
            return
        factors, read = [np.float32(factor) for factor in self._joined[tap].values()], super().feature_blocks
        parts = [read(part, within=within, share=share, rows=rows) for part in self._joined[tap]]
        for blocks in zip(*parts, strict=True):
            scaled = [block * factor for (_, block), factor in zip(blocks, factors, strict=True)]
            yield blocks[0][0], np.concatenate(scaled, axis=1)
