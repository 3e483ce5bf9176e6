from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss, Index, OpenIndex, Resident, Scan, Searcher, Selection, nearest
from lit_knn.database.index.resident import ResidentRows, worth_holding
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.description import describe
from tests.database.index.conftest import found


class Numpy(Index):
    """The shortest variant: the rows themselves, and nothing to build."""

    def __init__(self, *, found=10**9):
        self.found = found

    @property
    def settings(self):
        return {}

    def is_built(self, folder):
        return True

    def open(self, store, tap, folder, share=WHOLE, *, alone=False):
        return OpenIndex(self, store, tap, folder, Rows(store.features(tap, np.arange(len(store))), self.found))


class Rows(Searcher):
    def __init__(self, features, found):
        self.features, self.found = features, found

    def find(self, features, k, among):
        distances = np.linalg.norm(features.numpy()[:, None] - self.features, axis=2)  # (N, M)
        ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
        ids = np.where(np.arange(k) < self.found, ids, -1)
        return found(ids, np.take_along_axis(distances, ids, axis=1))


def searched_by(rows, store, folder):
    searcher = rows(store.features("late", np.arange(len(store))), 10**9)
    return OpenIndex(Numpy(), store, "late", folder, searcher)


@pytest.fixture
def index(small, tmp_path):
    Numpy().build(small, "late", tmp_path)
    return Numpy().open(small, "late", tmp_path)


def test_a_row_is_its_own_nearest(index, small):
    rows = torch.from_numpy(small.features("late", np.arange(5)))
    assert index.search(rows, 1).ids.ravel().tolist() == [0, 1, 2, 3, 4]


def test_an_unknown_tap_is_refused_with_those_there_are(small, tmp_path):
    with pytest.raises(UserError, match="no tap 'middle'; it has early, late"):
        OpenIndex(Numpy(), small, "middle", tmp_path, Rows(None, 1))


@pytest.mark.parametrize("k", [0, -1, 301])
def test_k_beyond_the_rows(index, k):
    with pytest.raises(UserError, match=f"has 300 rows and cannot find k = {k} neighbors"):
        index.search(torch.zeros(2, 8), k)
    assert index.search(torch.zeros(2, 8), 300).ids.shape == (2, 300)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e16])
def test_features_that_are_not_finite(index, value):
    features = torch.zeros(4, 8)
    features[2, 5] = value
    with pytest.raises(UserError, match="query 2 of 4 are NaN or infinite"):
        index.search(features, 1)


@pytest.mark.parametrize("shape", [(8,), (3, 7), (3, 8, 1)])
def test_features_of_another_shape(index, shape):
    with pytest.raises(UserError, match=r"takes features \(N, 8\), not"):
        index.search(torch.zeros(shape), 1)


def test_no_queries(index):
    assert index.search(torch.empty(0, 8), 3).ids.shape == (0, 3)


def test_a_missing_neighbor_never_leaves_the_index(small, tmp_path, caplog):
    short = Numpy(found=4).open(small, "late", tmp_path)
    zeros = torch.zeros(2, 8)
    assert (short.search(zeros, 4).ids >= 0).all()
    assert (short.partial(zeros, 5).ids[:, 4] == -1).all()  # but a share may have less
    with caplog.at_level("WARNING", "lit_knn"):
        answers = short.search(zeros, 5), short.search(zeros, 5)
    expected = Numpy().open(small, "late", tmp_path).search(zeros, 5)
    for answer in answers:
        assert np.array_equal(answer.ids, expected.ids)
        np.testing.assert_allclose(answer.distances, expected.distances, rtol=1e-6)
    (said,) = caplog.messages
    assert "finds fewer than k = 5 neighbors for some queries, which all rows are read for: raise nprobe" in said


def test_only_those_that_are_short_are_searched_exactly(small, tmp_path):
    class Uneven(Rows):
        def find(self, features, k, among):
            answer = super().find(features, k, among)
            answer.ids[1, 2:] = -1
            answer.distances[:] = 7  # so that it can be told
            return answer

    queries = torch.from_numpy(small.features("late", np.array([5, 6, 7])) + np.float32(0.01))
    answer = searched_by(Uneven, small, tmp_path).search(queries, 4)
    expected = Numpy().open(small, "late", tmp_path).search(queries, 4)
    assert np.array_equal(answer.ids, expected.ids)
    assert (answer.distances[[0, 2]] == 7).all()
    np.testing.assert_allclose(answer.distances[1], expected.distances[1], rtol=1e-6)


def test_what_an_index_may_not_find_is_an_error(small, tmp_path):
    """Its answers are looked up: it may be a GPU's that ignores selections, or a damaged file."""
    deaf = Numpy().open(small, "late", tmp_path)  # it takes `among` and ignores it
    zeros = torch.zeros(2, 8)
    nearest_rows = deaf.search(zeros, 20).ids.numpy()
    assert np.array_equal(deaf.search(zeros, 20, Selection.of(nearest_rows[0], 300)).ids, nearest_rows)
    other = int(nearest_rows[0, 11])
    among = Selection.of(np.setdiff1d(np.arange(300), other), 300)
    with pytest.raises(UserError, match=f"found row {other}, which is none of the 299 rows that may be found"):
        deaf.search(zeros, 20, among)
    with pytest.raises(UserError, match="found row"):
        deaf.rehearse(Selection.of(np.setdiff1d(np.arange(300), nearest_rows), 300))

    class Beyond(Rows):
        def find(self, features, k, among):
            return super().find(features, k, among)._replace(ids=torch.full((len(features), k), 300))

    with pytest.raises(UserError, match="found row 300 of 300 rows: it is damaged"):
        searched_by(Beyond, small, tmp_path).search(zeros, 1)


def test_an_opened_index_is_told_by_what_it_was_opened_from_and_what_was_built(small, tmp_path):
    def opened(found, **built):
        index = Numpy(found=found)
        return OpenIndex(index, small, "late", tmp_path, Rows(None, found), built)

    assert describe(opened(5, a=1)) == describe(opened(5, a=1))
    others = [opened(6, a=1), opened(5, a=2), opened(5)]
    assert len({str(describe(index)) for index in [opened(5, a=1), *others]}) == 4
    assert describe(opened(5))["identity"]["index"]["identity"] == {"found": 5}


def test_a_share_is_opened_from_the_same(small, tmp_path):
    scan = Scan(device="cpu").open(small, "late", tmp_path)
    rows = torch.from_numpy(small.features("late", np.arange(300)))
    shares = [scan.share(Partition(number, 3)) for number in (1, 2, 3)]
    answers = [share.partial(rows[:4], 2) for share in shares]
    assert np.array_equal(nearest(answers, 2).ids, scan.search(rows[:4], 2).ids)


@pytest.mark.parametrize("index", [Scan(device="cpu"), Faiss(device="cpu"), Faiss(factory="SQ8", device="cpu")])
def test_for_a_loop_the_rows_of_an_exact_index_are_held_if_they_fit(index, small, tmp_path, monkeypatch):
    """It is not told from the index that it was opened from, as its answers are the same."""
    monkeypatch.setattr("lit_knn.database.index.resident.HELD_FROM", 300)
    index.build(small, "late", tmp_path)
    opened = index.open(small, "late", tmp_path)
    held = opened.resident
    assert held is opened.resident
    assert isinstance(held.searcher, ResidentRows) == opened.searcher.exact
    assert describe(held) == describe(opened)
    queries = torch.from_numpy(small.features("late", np.arange(40)) + np.float32(0.1))
    for among in (None, Selection.of(np.arange(0, 300, 3), 300)):
        answer, expected = held.search(queries, 9, among), opened.search(queries, 9, among)
        assert np.array_equal(answer.ids, expected.ids)
        assert np.array_equal(answer.distances, expected.distances)
    monkeypatch.setattr("lit_knn.database.index.resident.default_budget", lambda: 100)
    again = index.open(small, "late", tmp_path)
    assert again.resident is again


def test_few_rows_are_not_held_but_on_a_gpu(small, tmp_path, monkeypatch):
    opened = Scan(device="cpu").open(small, "late", tmp_path)
    assert opened.resident is opened
    for memory, fits in ((100, False), (1 << 20, True)):
        properties = SimpleNamespace(total_memory=memory)
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda device, properties=properties: properties)
        assert worth_holding(small, torch.device("cuda")) == fits


def test_rows_that_are_held_are_not_held_twice(small, tmp_path, monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.resident.HELD_FROM", 1)
    opened = Resident(device="cpu").open(small, "late", tmp_path)
    assert opened.resident is opened


@pytest.mark.parametrize(("exact_up_to", "factory"), [(300, "Flat"), (0, "IVF64,Flat")])
def test_auto_is_held_where_it_is_exact(exact_up_to, factory, small, tmp_path, monkeypatch):
    """Else an attacker would copy another defense: one that finds what an approximate index does not."""
    monkeypatch.setattr("lit_knn.database.index.resident.HELD_FROM", 1)
    monkeypatch.setattr("lit_knn.database.index.plan.EXACT_UP_TO", exact_up_to)
    index = Faiss(factory="auto", device="cpu")
    index.build(small, "late", tmp_path)
    index.tune(small, "late", tmp_path, lambda opened: 1.0)  # one list is enough
    opened = index.open(small, "late", tmp_path)
    assert opened.searcher.opened[0][0].factory == factory
    assert (opened.resident is not opened) == (factory == "Flat")
