"""Memory of a process of its own, as what others have freed would be found again."""

import ctypes
import subprocess
import sys

import pytest

GROW = """
import contextlib, sys
from pathlib import Path
import faiss
import numpy as np
from lit_knn.database.index.growing_lists import growing_lists

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if "RssAnon" in line))

rows = np.random.default_rng(0).standard_normal((4096, 256), np.float32)
index = faiss.index_factory(256, "IVF16,SQ8")
index.train(rows)
before, most = held(), 0
with growing_lists() if sys.argv[1] == "back" else contextlib.nullcontext():
    for _ in range(48):
        index.add(rows)
        most = max(most, held())
print((most - before) * 1024 / (index.ntotal * (256 + 8)))
"""


def grown(how: str) -> float:
    """Return the memory that a growing index held at most, by its size."""
    done = subprocess.run([sys.executable, "-c", GROW, how], capture_output=True, check=True, text=True)
    return float(done.stdout)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_a_growing_index_holds_little_more_than_itself():
    given_back = grown("back")
    assert 1 < given_back < 1.3 < grown("kept")
