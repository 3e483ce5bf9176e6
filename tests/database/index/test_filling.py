"""Beside FAISS's own `add`: the same bytes, in less memory."""

import subprocess
import sys

import numpy as np
import pytest

from lit_knn.database.index.faiss_library import load_faiss, read_index, write_index
from lit_knn.database.index.filling import fill
from tests.database.index.conftest import clustered

LISTS = [
    "IVF16,Flat",
    "IVF16,SQ8",
    "IVF16,PQ4x4",
    "IVF16,RaBitQ",
    "IVF16_HNSW8,SQ8",
    "IVF16,FlatDedup",
    "IVF16,PQ4x4fs",
]
OTHERS = ["PCA8,IVF16,SQ8", "IVF16,RaBitQ,Refine(SQ8)", "Flat"]


@pytest.mark.parametrize("factory", [*LISTS, *OTHERS, "BIVF16", "BIVF16_HNSW8", "BFlat"])
def test_it_is_what_faiss_adds(factory, tmp_path):
    faiss, binary = load_faiss(), factory.startswith("B")
    rows = clustered(3000, dimension=16)
    if binary:
        rows = np.packbits(clustered(3000, dimension=64) > 0, axis=1)
    index = faiss.index_binary_factory(64, factory) if binary else faiss.index_factory(16, factory)
    index.train(rows)
    write_index(index, tmp_path / "trained")
    whole, ours = (read_index(tmp_path / "trained", binary=binary) for _ in range(2))
    whole.add(rows)
    fill(ours, lambda: (rows[start : start + 700] for start in range(0, len(rows), 700)))
    write_index(whole, tmp_path / "whole")
    write_index(ours, tmp_path / "ours")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "whole").read_bytes()


def test_rows_that_are_no_numbers_are_left_out_as_there(tmp_path):
    faiss = load_faiss()
    rows = clustered(400, dimension=8)
    index = faiss.index_factory(8, "IVF4,Flat")
    index.train(rows)
    rows[[3, 77]] = np.nan
    fill(index, lambda: [rows])
    assert (index.ntotal, index.invlists.compute_ntotal()) == (400, 398)


def test_no_rows_are_none():
    index = load_faiss().index_factory(8, "IVF4,Flat")
    index.train(clustered(400, dimension=8))
    fill(index, list)
    assert index.ntotal == 0


HELD = """
import sys
import numpy as np
from lit_knn.database.index.faiss_library import load_faiss, read_index
from lit_knn.database.index.filling import fill

def held():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) * 1024

def block(number):
    return np.random.default_rng(number).standard_normal((1000, 64), np.float32)

load_faiss().omp_set_num_threads(1)
index = read_index(sys.argv[1])
index.quantizer.search(block(0), 1)
before = held()
fill(index, lambda: map(block, range(120)))
print((held() - before) / (120_000 * (64 * 4 + 8)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_it_holds_what_the_rows_take(tmp_path):
    """Lists of 13 KB each, which leave a fifth as much behind them where they grow."""
    index = load_faiss().index_factory(64, "IVF2400,Flat")
    index.quantizer.add(np.random.default_rng(0).standard_normal((2400, 64), np.float32))  # trained enough for a test
    index.is_trained = True
    write_index(index, tmp_path / "trained")
    command = [sys.executable, "-c", HELD, str(tmp_path / "trained")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert 0.9 < float(done.stdout) < 1.1
