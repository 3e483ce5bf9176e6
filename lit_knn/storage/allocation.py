"""What glibc does with memory that is freed: keep it for the next batch, or give it back at once."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3): free bytes at the top of the heap from which on they are given back; bytes from which on a block is a
# mapping of its own, new pages each time; how many of these there may be
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
USUAL = {M_MMAP_MAX: 1 << 16, M_MMAP_THRESHOLD: 1 << 25, M_TRIM_THRESHOLD: 1 << 26}  # where glibc itself ends up
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: (1 << 31) - 1}
RETURNED = {M_MMAP_MAX: 1 << 16, M_MMAP_THRESHOLD: 1 << 16}


@contextmanager
def memory_kept() -> Iterator[None]:
    """Let blocks that are freed be used again, as a network's activations are in each batch; elsewhere nothing changes.

    Otherwise each one above 32 MiB is made of new pages, which the system has to clear: on a virtual machine with one
    core for each process, this took half of the time of an EfficientNet-Lite0 at 224 px.
    """
    with _allocating(KEPT):
        yield


@contextmanager
def memory_returned() -> Iterator[None]:
    """Let each block of 64 KiB or more that is freed go, which takes some time; elsewhere nothing changes.

    What grows moves to larger blocks, again and again. glibc keeps the old ones for later, of which the inverted lists
    of an index leave together about as much as they take.
    """
    with _allocating(RETURNED):
        yield


@contextmanager
def _allocating(options: dict[int, int]) -> Iterator[None]:
    glibc = ctypes.CDLL(None)
    if not hasattr(glibc, "mallopt"):
        yield
        return
    for name, value in options.items():
        glibc.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in USUAL.items():
            glibc.mallopt(name, value)
        glibc.malloc_trim(0)
