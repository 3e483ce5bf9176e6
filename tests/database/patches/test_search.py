import json

import numpy as np
import pytest
import torch

from lit_knn.database.patches.search import FILE, MEASURED, VectorSearch, build_search, open_search
from lit_knn.errors import UserError

VECTORS = np.random.default_rng(0).random((3000, 12), np.float32)
QUERIES = torch.from_numpy(np.random.default_rng(1).random((50, 12), np.float32))
APART = np.linalg.norm(QUERIES.double().numpy()[:, None] - VECTORS.astype(np.float64), axis=2)


def opened(folder, factory, recall=0.9):
    build_search(VECTORS, folder, factory=factory, recall=recall, seed=0)
    return open_search(torch.from_numpy(VECTORS), folder)


@pytest.mark.parametrize("factory", ["Flat", "auto"])
def test_few_vectors_are_searched_exactly_without_an_index(factory, tmp_path):
    search, recall = opened(tmp_path, factory)
    found = search.nearest(QUERIES, 10)
    assert np.array_equal(found.ids, APART.argsort(axis=1)[:, :10])
    np.testing.assert_allclose(found.distances, np.sort(APART)[:, :10], rtol=1e-6)
    assert recall == 1
    assert [path.name for path in tmp_path.iterdir()] == [MEASURED]


def test_an_index_reads_as_many_lists_as_its_recall_takes(tmp_path):
    read = []
    for recall in (0.3, 0.9, 1.0):
        search, measured = opened(tmp_path, "IVF32,Flat", recall)
        assert measured >= recall
        read.append(json.loads((tmp_path / MEASURED).read_text())["nprobe"])
        ids = search.nearest(QUERIES, 10).ids.numpy()
        found = np.mean(np.take_along_axis(APART, ids, 1) <= np.sort(APART)[:, 9:10])
        assert abs(found - measured) < 0.1
    assert read[0] < read[1] < read[2] <= 32


def test_lists_with_too_few_vectors_are_made_up_for_by_exact_search(tmp_path):
    search, _ = opened(tmp_path, "IVF64,Flat", recall=0.01)
    np.testing.assert_allclose(search.nearest(QUERIES, 1000).distances, np.sort(APART)[:, :1000], rtol=1e-6)


def test_an_index_without_lists_is_taken_as_it_is(tmp_path):
    search, recall = opened(tmp_path, "HNSW16")
    ids = search.nearest(QUERIES.double(), 5).ids.numpy()
    assert (np.take_along_axis(APART, ids, 1) <= np.sort(APART)[:, 4:5]).mean() > 0.8
    assert 0.5 < recall <= 1


def test_copies_count_as_found(tmp_path):
    vectors = np.zeros((500, 12), np.float32)
    build_search(vectors, tmp_path, factory="IVF4,Flat", recall=1.0, seed=0)
    assert open_search(torch.from_numpy(vectors), tmp_path)[1] == 1


def test_none_of_the_others_is_itself():
    rows = torch.tensor([5, 2999, 0])
    apart = np.linalg.norm(VECTORS[rows.numpy()].astype(np.float64)[:, None] - VECTORS.astype(np.float64), axis=2)
    found = VectorSearch(torch.from_numpy(VECTORS)).others(rows, 3)
    np.testing.assert_allclose(found, np.sort(apart)[:, 1:4], rtol=1e-6)


@pytest.mark.parametrize(
    ("factory", "sentence"),
    [
        ("IVG4", "FAISS has no index 'IVG4' for 12 dimensions"),
        ("IVF4000,Flat", "index 'IVF4000,Flat' cannot be trained on 3,000 patches"),
        ("IVF0,Flat", "a number that is too small"),
    ],
)
def test_what_faiss_has_no_index_for_is_told(factory, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        build_search(VECTORS, tmp_path, factory=factory, recall=0.9, seed=0)
    assert not (tmp_path / FILE).exists()
