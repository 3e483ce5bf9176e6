"""What every index keeps, over the same 3,000 vectors, against distances in float64."""

import numpy as np
import pytest

from lit_knn.errors import UserError
from lit_knn.index import Binary, Faiss, Milvus, Scan, Selection, Sharded
from lit_knn.store import Schema, ShardWriter, Store, shard_name, write_manifest
from tests.index.conftest import clustered

ROWS, DIMENSION, K = 3000, 32, 50

# name → index in a folder, tap, recall@50, recall@50 among a quarter of the rows; 1 where the index is exact
CASES = {
    "scan": (lambda _: Scan(device="cpu", block_rows=700), "floats", 1, 1),
    "flat": (lambda _: Faiss(device="cpu"), "floats", 1, 1),
    "ivf": (lambda _: Faiss(factory="IVF16,Flat", search_parameters={"nprobe": 16}, device="cpu"), "floats", 1, 1),
    "ivf-nprobe-1": (lambda _: Faiss(factory="IVF16,Flat", device="cpu"), "floats", 0.4, 0.3),
    "hnsw": (
        lambda _: Faiss(factory="HNSW32", search_parameters={"efSearch": 200}, device="cpu"),
        "floats",
        0.95,
        0.95,
    ),
    "binary": (lambda _: Binary(), "bits", 1, 1),
    "sharded": (lambda _: Sharded(index=Faiss(device="cpu"), parts=5), "floats", 1, 1),
    "milvus-flat": (lambda folder: milvus(folder, "FLAT"), "floats", 1, 1),
    "milvus-ivf": (lambda folder: milvus(folder, "IVF_FLAT", nprobe=128), "floats", 1, 1),
    "milvus-hnsw": (lambda folder: milvus(folder, "HNSW", ef=200), "floats", 0.95, 0.9),
}
MARKED = [pytest.param(name, marks=pytest.mark.milvus if name.startswith("milvus") else ()) for name in CASES]


def milvus(folder, index_type, **search_parameters):
    pytest.importorskip("milvus_lite")
    return Milvus(uri=str(folder / "lite.db"), index_type=index_type, search_parameters=search_parameters)


def signs(features):
    return np.where(features > 0, np.float32(1), np.float32(-1))


def write(folder, features):
    """Write a store whose tap "bits" has the signs of its tap "floats", in two shards."""
    taps = dict.fromkeys(("floats", "bits"), DIMENSION)
    schema = Schema(num_classes=2, dimensions=taps, weights=(), packed=False, key_width=1, bits=("bits",))
    for shard, part in enumerate((features[:1234], features[1234:])):
        ids, softmax = np.arange(len(part)), np.full((len(part), 2), 0.5, np.float32)
        with ShardWriter(folder / shard_name(shard), capacity=len(part), schema=schema, fingerprint={}) as writer:
            writer.append(
                features={"floats": part, "bits": signs(part)},
                softmax=softmax,
                weights={},
                id=ids,
                label=ids,
                key=[""] * len(part),
            )
            writer.seal()
    write_manifest(folder, range(2))
    return Store(folder)


@pytest.fixture(scope="module")
def vectors():
    """Rows (M, D), then 60 queries near them."""
    return clustered(ROWS + 60, dimension=DIMENSION)


@pytest.fixture(scope="module")
def store(vectors, tmp_path_factory):
    return write(tmp_path_factory.mktemp("store"), vectors[:ROWS])


@pytest.fixture(scope="module")
def other(vectors, tmp_path_factory):
    return write(tmp_path_factory.mktemp("other"), vectors[:ROWS] + 1)


class Case:
    def __init__(self, name, store, vectors, folder):
        make, self.tap, self.recall, self.recall_among = CASES[name]
        self.index, self.folder, self.store = make(folder), folder / "index", store
        self.index.build(store, self.tap, self.folder)
        self.opened = self.open(store)
        kept = (vectors.astype(np.float16) if self.tap == "floats" else signs(vectors)).astype(np.float64)
        self.queries = kept[ROWS:].astype(np.float32)
        self.distances = np.linalg.norm(kept[ROWS:, None] - kept[None, :ROWS], axis=2)  # (N, M)

    def open(self, store):
        return self.index.open(store, self.tap, self.folder)

    def check(self, found, among, recall):
        """Every promise of `search`, for an answer and the ids that were allowed."""
        ids, distances = found
        assert (ids.shape, ids.dtype) == ((len(self.queries), K), np.int64)
        assert (distances.shape, distances.dtype) == ((len(self.queries), K), np.float32)
        here = ids >= 0
        assert np.isin(ids[here], among).all()
        assert all(len(set(row)) == len(row) for row in (row[row >= 0].tolist() for row in ids))
        assert (distances[:, 1:] >= distances[:, :-1]).all()
        true = np.where(here, np.take_along_axis(self.distances, ids, axis=1), np.inf)
        np.testing.assert_allclose(distances, true, rtol=1e-4)
        farthest = np.sort(self.distances[:, among], axis=1)[:, K - 1 : K]
        assert (true <= farthest * (1 + 1e-6)).mean() >= recall  # equally near ones are equally right


@pytest.fixture(scope="module", params=MARKED)
def case(request, store, vectors, tmp_path_factory):
    return Case(request.param, store, vectors, tmp_path_factory.mktemp(request.param))


def test_it_finds_the_nearest_rows(case):
    case.check(case.opened.search(case.queries, K), np.arange(ROWS), case.recall)


def test_it_finds_them_among_some(case):
    allowed = np.sort(np.random.default_rng(1).permutation(ROWS)[: ROWS // 4])
    case.check(case.opened.partial(case.queries, K, Selection.of(allowed, ROWS)), allowed, case.recall_among)


def test_building_and_opening_again_change_nothing(case):
    expected = case.opened.search(case.queries, K)
    case.index.build(case.store, case.tap, case.folder)
    assert case.index.is_built(case.folder)
    found = case.open(case.store).search(case.queries, K)
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.distances, expected.distances)


def test_what_is_missing_comes_last_and_never_out_of_a_search(case):
    ids, distances = case.opened.partial(case.queries[:10], ROWS)
    missing = ids < 0
    assert (ids[missing] == -1).all()
    assert np.array_equal(missing, np.isinf(distances))
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()
    assert all(len(set(row)) == len(row) for row in (row[row >= 0].tolist() for row in ids))
    if missing.any():
        with pytest.raises(UserError, match=f"found fewer than k = {ROWS} neighbours"):
            case.opened.search(case.queries[:10], ROWS)
    assert not (missing.any() and case.recall == 1)


@pytest.mark.parametrize("k", [0, ROWS + 1])
def test_k_has_bounds(case, k):
    with pytest.raises(UserError, match=f"cannot find k = {k} neighbours"):
        case.opened.search(case.queries, k)


def test_queries_are_checked(case):
    queries = case.queries.copy()
    queries[7, 3] = np.nan
    with pytest.raises(UserError, match="query 7 of 60 are NaN or infinite"):
        case.opened.search(queries, K)
    assert case.opened.search(queries[:0], K).ids.shape == (0, K)


def test_another_store_is_refused(case, other):
    if isinstance(case.index, Scan):
        pytest.skip("it has nothing but the store")
    with pytest.raises(UserError, match="is of another store"):
        case.open(other)
