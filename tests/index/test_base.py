import json

import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.index import Index, Neighbors


class Numpy(Index):
    """The shortest variant: the rows themselves."""

    def __init__(self, *, exponent=2, found=10**9):
        self.exponent, self.found = exponent, found

    @property
    def settings(self):
        return {"exponent": self.exponent}

    def _build(self, store, tap, path):
        with path.open("wb") as file:
            np.save(file, store.features(tap, np.arange(len(store))))

    def _load(self, path):
        self.features = np.load(path)

    def _search(self, features, k, among):
        distances = np.linalg.norm(features[:, None] - self.features, axis=2)  # (N, M)
        ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
        ids = np.where(np.arange(k) < self.found, ids, -1)
        return Neighbors(ids, np.take_along_axis(distances, ids, axis=1))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index" / "late.v2.faiss"


@pytest.fixture
def index(small, path):
    index = Numpy()
    index.build(small, "late", path)
    index.load(path, small.checksum)
    return index


def test_build_load_search(index, small, path):
    rows = small.features("late", np.arange(5))
    assert index.search(rows, 1).ids.ravel().tolist() == [0, 1, 2, 3, 4]
    assert sorted(file.name for file in path.parent.iterdir()) == ["late.v2.faiss", "late.v2.faiss.json"]


def test_the_sidecar_says_what_the_index_belongs_to(index, small, path):
    assert json.loads((path.parent / "late.v2.faiss.json").read_text()) == {
        "store": small.checksum,
        "tap": "late",
        "rows": 300,
        "dimension": 8,
        "size": path.stat().st_size,
        "settings": {"exponent": 2},
    }


def test_an_unknown_tap_is_refused_with_those_there_are(small, path):
    with pytest.raises(UserError, match="no tap 'middle'; it has early, late"):
        Numpy().build(small, "middle", path)


def test_a_failed_build_leaves_the_old_index(index, small, path):
    class Broken(Numpy):
        def _build(self, store, tap, path):
            path.write_text("half")
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        Broken().build(small, "late", path)
    Numpy().load(path, small.checksum)
    assert len(list(path.parent.iterdir())) == 2


def test_missing_index_or_sidecar(index, small, path):
    with pytest.raises(UserError, match=r"missing or was never finished; run `lit-knn index`"):
        Numpy().load(path.with_name("early.faiss"), small.checksum)
    sidecar = path.with_name("late.v2.faiss.json")
    sidecar.write_text("{")
    with pytest.raises(UserError, match="json is damaged"):
        Numpy().load(path, small.checksum)
    sidecar.unlink()
    with pytest.raises(UserError, match="never finished"):
        Numpy().load(path, small.checksum)


def test_cut_short(index, small, path):
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"has \d+ of \d+ bytes"):
        Numpy().load(path, small.checksum)


def test_another_stores_index_is_refused(index, store, path):
    with pytest.raises(UserError, match="built over another store"):
        Numpy().load(path, store.checksum)


def test_other_settings_are_refused(index, small, path):
    with pytest.raises(UserError, match=r"built with \{'exponent': 2\}, not \{'exponent': 3\}"):
        Numpy(exponent=3).load(path, small.checksum)


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


def test_a_missing_neighbour_never_leaves_the_index(index, small, path):
    short = Numpy(found=4)
    short.load(path, small.checksum)
    assert (short.search(np.zeros((2, 8), np.float32), 4).ids >= 0).all()
    with pytest.raises(UserError, match=r"fewer than k = 5 neighbours for 2 of 2 queries: raise nprobe"):
        short.search(np.zeros((2, 8), np.float32), 5)


def test_searching_before_loading_is_a_bug():
    with pytest.raises(RuntimeError, match="not been loaded"):
        Numpy().search(np.zeros((1, 8), np.float32), 1)
