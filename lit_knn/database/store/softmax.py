"""Short softmax rows: the 21 largest classes and their probabilities, 84 bytes instead of 2,000 for 1,000 classes.

CBW-D compares the winner with its 20 runners-up, so 21 entries keep it exact for every M ≤ 20 and every P; what they
leave of the probability is spread evenly. That changes as many of 4,000 votes as rounding to float16 does: one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lit_knn.errors import UserError

LISTED = 21  # the winner and CBW-D's M = 20 runners-up
CLASS_BITS = 16


def packed_dtype(num_classes: int) -> np.dtype[Any]:
    """Return the record of a packed row.

    Raises:
        UserError: If there are more classes than a uint16 can name.
    """
    if num_classes > 1 << CLASS_BITS:
        raise UserError(f"packed softmax rows take up to {1 << CLASS_BITS:,} classes, not {num_classes:,}; store dense")
    listed = min(LISTED, num_classes)
    return np.dtype([("class", "<u2", (listed,)), ("probability", "<f2", (listed,))])


def vote_dtype(num_classes: int) -> np.dtype[Any]:
    """Return what names a class: two bytes, or four above 65,536 classes."""
    return np.dtype("<u2" if num_classes <= 1 << CLASS_BITS else "<u4")


def votes(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the class that each stored row votes for, the lowest of equal ones.

    Args:
        rows: float16 ``(n, C)``, or records ``(n,)`` of `pack`.

    Returns:
        ``(n,)`` integers.
    """
    return rows["class"][:, 0] if rows.dtype.names else rows.argmax(axis=1)


def pack(softmax: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Keep the largest entries of each row, in falling order, the lower class first among equal ones.

    Args:
        softmax: ``(n, C)`` float32 in [0, 1].

    Returns:
        ``(n,)`` records of m = min(21, C) entries: ``class`` uint16 and ``probability`` float16.
    """
    dtype = packed_dtype(softmax.shape[1])
    listed = dtype["class"].shape[0]
    # The bits of floats that are not negative sort like the floats (+ 0 turns −0 into 0); the classes below them settle
    # ties, and make all keys of a row different, so that a partial sort is exact.
    bits = (softmax.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.int64)
    last = (1 << CLASS_BITS) - 1
    keys = bits << CLASS_BITS | (last - np.arange(softmax.shape[1]))  # (n, C)
    largest = np.sort(np.partition(keys, -listed, axis=1)[:, -listed:], axis=1)[:, ::-1]  # (n, m)
    records = np.empty(len(softmax), dtype)
    records["class"] = last - (largest & last)
    records["probability"] = (largest >> CLASS_BITS).astype(np.uint32).view(np.float32)
    return records


def unpack(records: npt.NDArray[Any], num_classes: int) -> npt.NDArray[np.float32]:
    """Complete packed rows; the classes that are not listed share what the listed ones leave.

    Args:
        records: ``(n,)`` as `pack` gives them.
        num_classes: C.

    Returns:
        ``(n, C)`` float32 with rows summing to 1, or to float16's rounding of it if all classes are listed. Where
        rounding takes the listed ones over 1, the shares are negative, by less than 1e-3.
    """
    probability = records["probability"].astype(np.float32)  # (n, m)
    rest = (1 - probability.sum(axis=1, keepdims=True)) / max(num_classes - probability.shape[1], 1)  # (n, 1)
    softmax = np.repeat(rest, num_classes, axis=1)  # (n, C)
    np.put_along_axis(softmax, records["class"].astype(np.int64), probability, axis=1)
    return softmax
