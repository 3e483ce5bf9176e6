import json
from pathlib import Path

import pytest

from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.database.index.plan import CODES, default_budget, plan
from lit_knn.errors import UserError

GIB = 2**30


@pytest.mark.parametrize(
    ("rows", "budget", "factory"),
    [
        (1_000, GIB, "Flat"),
        (20_000, GIB, "Flat"),
        (50_000, GIB, "IVF1024,Flat"),
        (1_281_167, 8 * GIB, "IVF4096,Flat"),
        (1_281_167, GIB, "IVF4096,SQfp16"),
        (10**8, 32 * GIB, "IVF32768_HNSW32,SQ8"),
        (10**9, 200 * GIB, "IVF131072_HNSW32,SQ6"),
        (10**9, 64 * GIB, "IVF131072_HNSW32,RaBitQ"),
    ],
)
def test_the_most_exact_index_that_fits(rows, budget, factory):
    chosen = plan(rows, 256, budget)
    assert chosen.factory == factory
    assert chosen.total_bytes <= budget
    better = [code for code in CODES if code.recall > chosen.recall]
    assert all(rows * (256 * code.bits // 8 + code.further_bytes + 8) > budget - GIB // 4 for code in better)


def test_too_little_memory_says_what_is_needed_and_what_to_do():
    with pytest.raises(
        UserError, match=r"1,000,000,000 rows of 256 dimensions takes at least 44.8 GiB, memory_gb is 16: raise"
    ):
        plan(10**9, 256, 16 * GIB)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.factory)
def test_the_bytes_are_those_of_the_file(code, store, tmp_path):
    faiss = load_faiss()
    rows = store.features("late", range(len(store)))
    index = faiss.index_factory(64, f"IVF16,{code.factory}")
    index.train(rows)
    empty = tmp_path / "empty"
    faiss.write_index(index, str(empty))
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "full"))
    per_row = ((tmp_path / "full").stat().st_size - empty.stat().st_size) / len(rows)
    assert per_row == pytest.approx(64 * code.bits / 8 + code.further_bytes + 8, abs=0.1)


def test_it_can_be_read_and_the_budget_is_half_of_the_memory():
    assert str(plan(50_000, 256, GIB)) == "IVF1024,Flat: about 0.049 GiB, 1032 bytes a row, recall up to about 1.00"
    assert 2**28 < default_budget() < 2**44


def test_the_recalls_are_those_of_the_record():
    record = json.loads((Path(__file__).parents[3] / "tools" / "records" / "bench_index_codes.json").read_text())
    for code in CODES:
        measured = [line["ratio"] for line in record["results"] if f": {code.factory} /" in line["name"]]
        assert len(measured) == 3
        assert code.recall == round(min(measured), 2)
