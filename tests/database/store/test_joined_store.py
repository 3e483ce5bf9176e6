import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss, Scan
from lit_knn.database.index.resident import Resident
from lit_knn.database.store import JoinedStore, Store
from tests.database.index.conftest import clustered, write_features

FACTORS = {"late+early": {"late": 0.5, "early": 3.0}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("joined"), clustered(700, dimension=8))


@pytest.fixture
def store(plain):
    return JoinedStore(plain, FACTORS)


def rows(store):
    """All features by hand: float16 as stored, times the factor, in float32."""
    every = np.arange(len(store))
    late, early = (Store.features(store, tap, every) for tap in ("late", "early"))
    return np.concatenate([late * np.float32(0.5), early * np.float32(3)], axis=1)


def test_features_are_those_of_the_parts_one_after_the_other(store, plain):
    assert store.schema.dimensions == {"early": 8, "late": 8, "late+early": 16}
    assert len(plain.schema.dimensions) == 2  # the store itself stays as it is
    ids = np.array([[5, 699], [0, 5]])
    found = store.features("late+early", ids)
    assert found.dtype == np.float32
    assert np.array_equal(found, rows(store)[ids])
    assert np.array_equal(store.features("late", ids), plain.features("late", ids))
    assert [store.is_half(tap) for tap in ("late", "late+early")] == [True, False]


@pytest.mark.parametrize("options", [{}, {"rows": 50}, {"rows": 64, "within": range(100, 600)}])
def test_blocks_are_all_of_it(store, options):
    blocks = list(store.feature_blocks("late+early", **options))
    within = options.get("within", range(700))
    assert [first for first, _ in blocks] == [first for first, _ in store.feature_blocks("late", **options)]
    assert np.array_equal(np.concatenate([block for _, block in blocks]), rows(store)[within.start : within.stop])
    assert all(len(block) <= options.get("rows", 700) for _, block in blocks)


@pytest.mark.parametrize("index", [Scan(device="cpu"), Resident(device="cpu"), Faiss()])
def test_search_is_that_of_the_concatenated_features_in_float64(store, index, tmp_path, request):
    if isinstance(index, Resident):
        request.getfixturevalue("holding")  # as on a GPU, where halves would be other features
    index.build(store, "late+early", tmp_path)
    queries = rows(store)[:20] + np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - rows(store), axis=2)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :7]
    opened = index.open(store, "late+early", tmp_path)
    ids, found = opened.search(torch.from_numpy(queries), 7)
    assert np.array_equal(ids.numpy(), nearest)
    np.testing.assert_allclose(found.numpy(), np.take_along_axis(distances, nearest, 1), rtol=1e-6)
    assert np.array_equal(opened.vectors(ids).numpy(), rows(store)[nearest])
