"""Run with a faiss-gpu wheel on a GPU machine: ``pytest -m gpu tests/database/index/test_gpu.py``."""

import numpy as np
import pytest

from lit_knn.database.index import Faiss
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.errors import UserError

pytest.importorskip("faiss")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not load_faiss().get_num_gpus(), reason="FAISS sees no GPU"),
]


def recall(found, expected):
    return np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)])


@pytest.mark.parametrize("mode", ["replicate", "shard"])
@pytest.mark.parametrize(("float16", "floor"), [(False, 0.999), (True, 0.99)])
@pytest.mark.parametrize("factory", ["Flat", "IVF256,Flat", "IVF256,PQ32"])
def test_the_gpu_finds_what_the_cpu_finds(factory, float16, floor, mode, store, queries, tmp_path):
    options = {
        "factory": factory,
        "training_rows": 2560,
        "search_parameters": {} if factory == "Flat" else {"nprobe": 32},
    }
    Faiss(**options).build(store, "late", tmp_path)
    cpu = Faiss(**options, device="cpu").open(store, "late", tmp_path)
    on_gpu = {"device": "cuda", "gpu_float16": float16, "gpu_temp_memory_mb": 64, "gpu_mode": mode}
    gpu = Faiss(**options, **on_gpu).open(store, "late", tmp_path)
    expected, found = cpu.search(queries, 50), gpu.search(queries, 50)
    assert found.ids.dtype == np.int64
    assert (np.diff(found.distances, axis=1) >= 0).all()
    assert recall(found.ids, expected.ids) >= floor
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-2)


def test_an_index_that_faiss_has_not_for_gpus(store, queries, tmp_path):
    Faiss(factory="HNSW32").build(store, "late", tmp_path)
    with pytest.raises(UserError, match="cannot be searched on the GPU"):
        Faiss(factory="HNSW32", device="cuda").open(store, "late", tmp_path)
    with pytest.warns(UserWarning, match="the CPU searches it"):
        index = Faiss(factory="HNSW32", device="auto").open(store, "late", tmp_path)
    assert index.search(queries, 50).ids.shape == (40, 50)
