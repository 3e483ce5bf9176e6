import numpy as np
import pytest

from lit_knn.database.index import Faiss, Scan
from lit_knn.database.index.recall import Truth
from tests.database.index.conftest import found, write_features


@pytest.fixture
def truth(store):
    return Truth(store, "late", 20, queries=50)


def test_exact_search_finds_everything(truth, store, tmp_path):
    assert truth.recall(Scan(block_rows=999).open(store, "late", tmp_path)) == 1


def test_it_is_the_share_of_the_true_neighbors_without_the_query_itself(truth, store, tmp_path):
    rows = store.features("late", np.arange(len(store))).astype(np.float64)

    class Worse:
        """Finds each query's own row and every other true neighbor."""

        def partial(self, features, k):
            distances = np.linalg.norm(features.numpy()[:, None].astype(np.float64) - rows, axis=2)
            ids = distances.argsort(axis=1)[:, :k]
            ids[:, 1::2] = -1
            return found(ids, np.zeros(ids.shape))

    assert truth.recall(Worse()) == 0.5


def test_an_index_that_reads_more_finds_more(truth, store, tmp_path):
    Faiss(factory="IVF256,Flat", training_rows=4000).build(store, "late", tmp_path)
    recalls = [
        truth.recall(
            Faiss(factory="IVF256,Flat", training_rows=4000, search_parameters={"nprobe": n}).open(
                store, "late", tmp_path
            )
        )
        for n in (1, 2, 256)
    ]
    assert recalls[0] < recalls[1] < recalls[2] == 1


def test_a_store_smaller_than_k(small, tmp_path):
    assert Truth(small, "late", 1000).recall(Scan().open(small, "late", tmp_path)) == 1


@pytest.mark.parametrize("beyond", [0, 3])
def test_any_of_equally_far_rows_counts_and_none_that_is_farther(beyond, tmp_path):
    """Bits of 8 dimensions: hundreds of rows are as near as the k-th."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (2000, 8)).astype(np.float32)
    signs[1000:] = signs[:1000]

    class OtherChoice:
        """Prefers the higher id, and gives the farthest rows for the last ``beyond`` of the k others."""

        def partial(self, features, k):
            distances = np.linalg.norm(features.numpy()[:, None] - signs[::-1], axis=2)
            order = len(signs) - 1 - distances.argsort(axis=1, kind="stable")
            ids = np.concatenate([order[:, : k - beyond], order[:, len(signs) - beyond :]], axis=1)
            return found(ids, np.zeros(ids.shape))

    truth = Truth(write_features(tmp_path, signs), "late", 20, queries=30)
    assert truth.recall(OtherChoice()) == 1 - beyond / 20
