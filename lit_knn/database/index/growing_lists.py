"""What a growing index leaves behind goes back to the system at once."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_MMAP_THRESHOLD = -3  # of mallopt(3), from which size on a block is a mapping of its own
SMALL, USUAL = 1 << 16, 1 << 25  # bytes: of a list that has grown; where glibc's own threshold ends up


@contextmanager
def growing_lists() -> Iterator[None]:
    """Let glibc give back each block of 64 KiB or more that is freed, which takes some time; elsewhere nothing changes.

    An inverted list grows by moving to a block twice as large. glibc keeps the old ones for later, of which all lists
    together leave about as much as the index takes: 1.7 times its size were held, and 1.1 times are so.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_THRESHOLD, SMALL)
    try:
        yield
    finally:
        mallopt(M_MMAP_THRESHOLD, USUAL)
