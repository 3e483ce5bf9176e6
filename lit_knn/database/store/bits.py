"""Features of signs as bits: 32 bytes instead of 512 for 256 dimensions.

Between −1 and 1 the squared Euclidean distance is four times the number of bits that differ, so that whoever searches
the features and whoever searches the codes finds the same neighbors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def pack_signs(features: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return a bit for each positive sign, eight to a byte and the first one highest.

    Args:
        features: ``(..., D)`` of −1 and 1; D is a multiple of 8.

    Returns:
        ``(..., D/8)`` uint8, what FAISS's binary indexes take.
    """
    return np.packbits(np.asarray(features) > 0, axis=-1)


def unpack_signs(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the features ``(..., D)`` float32, −1 and 1, of codes ``(..., D/8)``."""
    signs = np.unpackbits(codes, axis=-1).astype(np.float32)
    signs *= 2
    signs -= 1
    return signs
