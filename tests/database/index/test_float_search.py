import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss, Selection
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.database.index.float_search import set_parameters
from lit_knn.errors import UserError

K = 10


@pytest.mark.parametrize("factory", ["IVF16,Flat", "Flat"])
def test_a_part_of_the_rows_is_searched_where_the_selection_holds(factory, small, tmp_path, monkeypatch):
    """FAISS's indexes on a GPU may take a selection and ignore it."""

    class Deaf:
        """What `to_gpu` returns."""

        def __init__(self, index, **options):
            self.index, self.asked = index, 0

        def search(self, features, k, params=None):
            self.asked += 1
            return self.index.search(features, k)

    faiss = load_faiss()
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "GpuParameterSpace", faiss.ParameterSpace, raising=False)
    monkeypatch.setattr("lit_knn.database.index.gpu.to_gpu", Deaf)
    monkeypatch.setattr("lit_knn.database.index.floats.set_parameters", skipping(Deaf))
    options = {"factory": factory, "search_parameters": {"nprobe": 2} if "IVF" in factory else {}}
    Faiss(**options).build(small, "late", tmp_path)
    on_gpu, on_cpu = (Faiss(**options, device=device).open(small, "late", tmp_path) for device in ("auto", "cpu"))
    queries = torch.from_numpy(small.features("late", np.arange(20)) + np.float32(0.01))
    among = Selection.of(np.arange(0, 300, 3), 300)
    for selection, asked in ((None, True), (among, False)):
        before = on_gpu.searcher.opened[0][0].index.asked
        found, expected = (index.search(queries, K, selection) for index in (on_gpu, on_cpu))
        assert np.array_equal(found.ids, expected.ids)
        assert (on_gpu.searcher.opened[0][0].index.asked > before) == asked


def skipping(kind):
    """Return `set_parameters` for all indexes but those of a kind, which FAISS does not know."""
    return lambda index, *rest: None if isinstance(index, kind) else set_parameters(index, *rest)


@pytest.mark.parametrize(("factory", "name"), [("Flat", "nprobe"), ("IVF16,Flat", "probes"), ("HNSW32", "nprobe")])
def test_an_unknown_search_parameter_is_refused(factory, name, small, tmp_path):
    index = Faiss(factory=factory, search_parameters={name: 4}, device="cpu")
    index.build(small, "late", tmp_path)
    with pytest.raises(UserError, match=f"no search parameter '{name}'"):
        index.open(small, "late", tmp_path)


@pytest.mark.parametrize(
    ("factory", "name", "value"),
    [
        ("IVF16,Flat", "nprobe", 0),
        ("IVF16,Flat", "nprobe", float("nan")),
        ("HNSW32", "efSearch", -1),
        ("IVF16,Flat", "verbose", 1),
        ("HNSW32", "efConstruction", 40),
    ],
)
def test_search_parameters_without_sense_are_refused(factory, name, value, small, tmp_path):
    index = Faiss(factory=factory, search_parameters={name: value}, device="cpu")
    index.build(small, "late", tmp_path)
    with pytest.raises(UserError, match=f"search parameter '{name}'"):
        index.open(small, "late", tmp_path)
