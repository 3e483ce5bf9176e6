"""How Milvus keeps the features of a tap: as floats, or as bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lit_knn.database.index.milvus_library import load_pymilvus
from lit_knn.database.store import Store, pack_signs, unpack_signs
from lit_knn.errors import UserError

MESSAGE = 1 << 25  # bytes of vectors that are sent at a time; a server takes 64 MiB


@dataclass(frozen=True)
class VectorFormat:
    """A float32 for each dimension, or a bit where the features are −1 and 1.

    Attributes:
        bits: Which.
    """

    bits: bool

    @property
    def metric(self) -> str:
        """Milvus's name of how vectors are compared."""
        return "HAMMING" if self.bits else "L2"

    @property
    def data_type(self) -> Any:
        """What pymilvus calls them."""
        types = load_pymilvus().DataType
        return types.BINARY_VECTOR if self.bits else types.FLOAT_VECTOR

    def require(self, store: Store, tap: str) -> None:
        """Refuse to keep numbers as bits.

        Raises:
            UserError: If the tap has no bits.
        """
        if self.bits and tap not in store.schema.bits:
            raise UserError(
                f"an index_type BIN_… of Milvus searches bits, which tap {tap!r} does not have: set its `bits: true`"
            )

    def encoded(self, features: npt.NDArray[np.float32]) -> list[Any]:
        """Return features ``(n, D)`` as pymilvus takes them."""
        return [codes.tobytes() for codes in pack_signs(features)] if self.bits else list(features)

    def decoded(self, vectors: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Return the features ``(n, D)`` of vectors as pymilvus returns them."""
        if self.bits:
            return unpack_signs(np.stack([np.frombuffer(b"".join(vector), np.uint8) for vector in vectors]))
        return np.array(vectors, np.float32)

    def euclidean(self, found: Tensor) -> Tensor:
        """Return distances, float64, from what Milvus calls so: their squares, or in how many bits vectors differ."""
        return ((4 if self.bits else 1) * found).clamp_min(0).sqrt()  # rounding may leave a copy less than nothing

    def messages(self, store: Store, tap: str, within: range, most: int) -> Iterator[tuple[range, list[Any]]]:
        """Yield rows of a store and their vectors, as many at a time as one message holds.

        Args:
            store: Where they come from.
            tap: Which features.
            within: Which rows.
            most: The most rows in one message.
        """
        dimension = store.schema.dimensions[tap]
        row_bytes = dimension // 8 if self.bits else 4 * dimension
        for first, block in store.feature_blocks(tap, within=within, rows=max(1, min(most, MESSAGE // row_bytes))):
            yield range(first, first + len(block)), self.encoded(block)
