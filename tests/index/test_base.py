import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.index import Index, Neighbors, nearest


class Numpy(Index):
    """The shortest variant: the rows themselves, and nothing to build."""

    def __init__(self, *, found=10**9):
        self.found = found

    @property
    def settings(self):
        return {}

    def is_built(self, folder):
        return True

    def _open(self, store, tap, folder, share):
        self.features = store.features(tap, np.arange(len(store)))

    def _search(self, features, k, among):
        distances = np.linalg.norm(features[:, None] - self.features, axis=2)  # (N, M)
        ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
        ids = np.where(np.arange(k) < self.found, ids, -1)
        return Neighbors(ids, np.take_along_axis(distances, ids, axis=1))


@pytest.fixture
def index(small, tmp_path):
    Numpy().build(small, "late", tmp_path)
    return Numpy().open(small, "late", tmp_path)


def test_a_row_is_its_own_nearest(index, small):
    assert index.search(small.features("late", np.arange(5)), 1).ids.ravel().tolist() == [0, 1, 2, 3, 4]


def test_an_unknown_tap_is_refused_with_those_there_are(small, tmp_path):
    with pytest.raises(UserError, match="no tap 'middle'; it has early, late"):
        Numpy().open(small, "middle", tmp_path).search(np.zeros((1, 8), np.float32), 1)


def test_opening_leaves_the_configuration_as_it_is(small, tmp_path):
    configuration = Numpy()
    assert configuration.open(small, "late", tmp_path).search(np.zeros((2, 8), np.float32), 1).ids.shape == (2, 1)
    with pytest.raises(RuntimeError, match="not been opened"):
        configuration.search(np.zeros((2, 8), np.float32), 1)


@pytest.mark.parametrize("k", [0, -1, 301])
def test_k_beyond_the_rows(index, k):
    with pytest.raises(UserError, match=f"has 300 rows and cannot find k = {k} neighbours"):
        index.search(np.zeros((2, 8), np.float32), k)
    assert index.search(np.zeros((2, 8), np.float32), 300).ids.shape == (2, 300)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite(index, value):
    features = np.zeros((4, 8), np.float32)
    features[2, 5] = value
    with pytest.raises(UserError, match="query 2 of 4 are NaN or infinite"):
        index.search(features, 1)


@pytest.mark.parametrize("shape", [(8,), (3, 7), (3, 8, 1)])
def test_features_of_another_shape(index, shape):
    with pytest.raises(UserError, match=r"takes features \(N, 8\), not"):
        index.search(np.zeros(shape, np.float32), 1)


def test_no_queries(index):
    assert index.search(np.empty((0, 8), np.float32), 3).ids.shape == (0, 3)


def test_a_missing_neighbour_never_leaves_the_index(small, tmp_path):
    short = Numpy(found=4).open(small, "late", tmp_path)
    zeros = np.zeros((2, 8), np.float32)
    assert (short.search(zeros, 4).ids >= 0).all()
    with pytest.raises(UserError, match=r"fewer than k = 5 neighbours for 2 of 2 queries: raise nprobe"):
        short.search(zeros, 5)
    assert (short.partial(zeros, 5).ids[:, 4] == -1).all()  # but a share may have less


def test_merging_does_not_depend_on_order_and_gives_the_lower_id_first():
    rng = np.random.default_rng(0)
    distances = rng.integers(0, 5, (3, 40)).astype(np.float32)  # many equal ones
    ids = np.tile(rng.permutation(40), (3, 1))
    parts = [Neighbors(ids[:, part], distances[:, part]) for part in (slice(0, 7), slice(7, 30), slice(30, 40))]
    parts.append(Neighbors(np.full((3, 2), -1), np.full((3, 2), np.inf, np.float32)))
    expected = [sorted(zip(d, i, strict=True))[:9] for d, i in zip(distances.tolist(), ids.tolist(), strict=True)]
    for found in (parts, parts[::-1]):
        merged = nearest(found, 9)
        assert [
            list(zip(d, i, strict=True)) for d, i in zip(merged.distances.tolist(), merged.ids.tolist(), strict=True)
        ] == expected
    assert (nearest(parts, 42).ids[:, 40:] == -1).all()
