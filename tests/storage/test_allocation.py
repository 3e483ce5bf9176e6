"""Memory of a process of its own, as what others have freed would be found again."""

import ctypes
import resource
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")

GROW = """
import contextlib, sys
from pathlib import Path
import faiss
import numpy as np
from lit_knn.storage.allocation import memory_returned

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if "RssAnon" in line))

rows = np.random.default_rng(0).standard_normal((4096, 256), np.float32)
index = faiss.index_factory(256, "IVF16,SQ8")
index.train(rows)
before, most = held(), 0
with memory_returned() if sys.argv[1] == "back" else contextlib.nullcontext():
    for _ in range(48):
        index.add(rows)
        most = max(most, held())
print((most - before) * 1024 / (index.ntotal * (256 + 8)))
"""


def run_alone(script: str, how: str) -> list[str]:
    """Return the lines that a script prints."""
    done = subprocess.run([sys.executable, "-c", script, how], capture_output=True, check=True, text=True)
    return done.stdout.split()


def grown(how: str) -> float:
    """Return the memory that a growing index held at most, by its size."""
    return float(*run_alone(GROW, how))


def test_a_growing_index_holds_little_more_than_itself():
    given_back = grown("back")
    assert 1 < given_back < 1.3 < grown("kept")


AGAIN = """
import contextlib, resource, sys
import torch
from lit_knn.storage.allocation import memory_kept

def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.zeros(1 << 24).add_(1)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with memory_kept() if sys.argv[1] == "kept" else contextlib.nullcontext():
    faults(8)
    print(faults(16))
"""


def test_blocks_are_used_again_as_long_as_that_is_wanted():
    """Counted are pages that the system has to give."""
    pages = (1 << 26) / resource.getpagesize()
    again, anew = (int(*run_alone(AGAIN, how)) for how in ("kept", "usual"))
    assert again < 3 * pages < 15 * pages < anew  # of sixteen blocks; others may come to lie between them


def test_a_kept_block_goes_back_in_the_end():
    assert int(*run_alone(GIVEN_BACK, "")) < 1 << 24


GIVEN_BACK = """
from pathlib import Path
import torch
from lit_knn.storage.allocation import memory_kept

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if "RssAnon" in line))

before = held()
with memory_kept():
    torch.zeros(1 << 26).add_(1)
print(held() - before)
"""
