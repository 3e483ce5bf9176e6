import numpy as np
import pytest

from lit_knn.index import Faiss, Neighbors, Scan
from lit_knn.index.recall import Truth


@pytest.fixture
def truth(store):
    return Truth(store, "late", 20, queries=50)


def test_exact_search_finds_everything(truth, store, tmp_path):
    assert truth.recall(Scan(block_rows=999).open(store, "late", tmp_path)) == 1


def test_it_is_the_share_of_the_true_neighbours_without_the_query_itself(truth, store, tmp_path):
    rows = store.features("late", np.arange(len(store))).astype(np.float64)

    class Worse:
        """Finds each query's own row and every other true neighbour."""

        def partial(self, features, k):
            distances = np.linalg.norm(features[:, None].astype(np.float64) - rows, axis=2)
            ids = distances.argsort(axis=1)[:, :k]
            ids[:, 1::2] = -1
            return Neighbors(ids, np.zeros(ids.shape, np.float32))

    assert truth.recall(Worse()) == 0.5


def test_an_index_that_reads_more_finds_more(truth, store, tmp_path):
    Faiss(factory="IVF256,Flat", training_rows=4000).build(store, "late", tmp_path)
    found = [
        truth.recall(
            Faiss(factory="IVF256,Flat", training_rows=4000, search_parameters={"nprobe": n}).open(
                store, "late", tmp_path
            )
        )
        for n in (1, 2, 256)
    ]
    assert found[0] < found[1] < found[2] == 1


def test_a_store_smaller_than_k(small, tmp_path):
    assert Truth(small, "late", 1000).recall(Scan().open(small, "late", tmp_path)) == 1
