"""What every index keeps, over the same 3,000 vectors, against distances in float64."""

import numpy as np
import pytest
import torch

from lit_knn.database.index import Binary, Faiss, Milvus, Resident, Scan, Selection, Sharded
from lit_knn.database.store import Schema, ShardWriter, Store, shard_name, write_manifest
from lit_knn.errors import UserError
from tests.database.index.conftest import ENGINES, clustered

ROWS, DIMENSION, K = 3000, 32, 50

# name → index in a folder, tap, recall@50, recall@50 among a quarter of the rows; 1 where the index is exact
CASES = {
    "scan": (lambda _: Scan(device="cpu", block_rows=700), "floats", 1, 1),
    "resident": (lambda _: Resident(device="cpu"), "floats", 1, 1),
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
}
ON_AN_ENGINE = {  # Milvus's name → its parameters to build and to search, and as above
    "FLAT": ({}, {}, "floats", 1, 1),
    "IVF_FLAT": ({"nlist": 16}, {"nprobe": 16}, "floats", 1, 1),
    "HNSW": ({"M": 16, "efConstruction": 200}, {"ef": 3000}, "floats", 0.95, 0.9),
    "AUTOINDEX": ({}, {}, "floats", 0.9, 0.7),
    "BIN_FLAT": ({}, {}, "bits", 1, 1),
    "BIN_IVF_FLAT": ({"nlist": 16}, {"nprobe": 16}, "bits", 1, 1),
}
MARKED = [
    *CASES,
    *(
        pytest.param((engine, name), marks=pytest.mark.milvus)
        for engine in ENGINES
        for name in ON_AN_ENGINE
        if not (engine == "lite" and name.startswith("BIN_"))  # which milvus-lite does not have
    ),
]


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
                ids=ids,
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
    def __init__(self, index, tap, recall, recall_among, store, vectors, folder):
        self.index, self.tap, self.recall, self.recall_among = index, tap, recall, recall_among
        self.folder, self.store = folder / "index", store
        self.index.build(store, self.tap, self.folder)
        self.opened = self.open(store)
        kept = (vectors.astype(np.float16) if self.tap == "floats" else signs(vectors)).astype(np.float64)
        self.queries = torch.from_numpy(kept[ROWS:]).float()
        self.distances = np.linalg.norm(kept[ROWS:, None] - kept[None, :ROWS], axis=2)  # (N, M)

    def open(self, store):
        return self.index.open(store, self.tap, self.folder)

    def check(self, found, among, recall):
        """Every promise of `search`, for an answer and the ids that were allowed."""
        ids, distances = (part.numpy() for part in found)
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
    folder = tmp_path_factory.mktemp("case")
    if isinstance(request.param, str):
        make, *rest = CASES[request.param]
        return Case(make(folder), *rest, store, vectors, folder)
    engine, index_type = request.param
    build, search, *rest = ON_AN_ENGINE[index_type]
    uri = request.getfixturevalue("server").uri if engine == "server" else lite(folder)
    index = Milvus(uri=uri, index_type=index_type, index_parameters=build, search_parameters=search)
    return Case(index, *rest, store, vectors, folder)


def lite(folder):
    pytest.importorskip("milvus_lite")
    return str(folder / "lite.db")


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
    ids, distances = (part.numpy() for part in case.opened.partial(case.queries[:10], ROWS))
    missing = ids < 0
    assert (ids[missing] == -1).all()
    assert np.array_equal(missing, np.isinf(distances))
    assert (np.diff(missing.astype(int), axis=1) >= 0).all()
    assert all(len(set(row)) == len(row) for row in (row[row >= 0].tolist() for row in ids))
    assert not (missing.any() and case.recall == 1)
    found = case.opened.search(case.queries[:10], ROWS)  # the others are searched exactly
    assert (np.sort(found.ids.numpy()) == np.arange(ROWS)).all()
    exact = np.sort(case.distances[:10])[missing.any(axis=1)]
    np.testing.assert_allclose(found.distances[missing.any(axis=1)], exact, rtol=1e-6)


@pytest.mark.parametrize("k", [0, ROWS + 1])
def test_k_has_bounds(case, k):
    with pytest.raises(UserError, match=f"cannot find k = {k} neighbors"):
        case.opened.search(case.queries, k)


def test_queries_are_checked(case):
    queries = case.queries.clone()
    queries[7, 3] = np.nan
    with pytest.raises(UserError, match="query 7 of 60 are NaN or infinite"):
        case.opened.search(queries, K)
    assert case.opened.search(queries[:0], K).ids.shape == (0, K)


def test_another_store_is_refused(case, other):
    if isinstance(case.index, Scan | Resident):
        pytest.skip("it has nothing but the store")
    with pytest.raises(UserError, match=r"is of another origin: .*store is "):
        case.open(other)


EXACT = {  # index, tap
    "scan": (Scan(device="cpu"), "floats"),
    "resident": (Resident(device="cpu"), "floats"),
    "resident bits": (Resident(device="cpu"), "bits"),
    "sharded resident": (Sharded(index=Resident(device="cpu"), parts=5), "floats"),
    "scan of small blocks": (Scan(device="cpu", block_rows=70), "floats"),
    "flat": (Faiss(device="cpu"), "floats"),
    "ivf of all lists": (
        Faiss(factory="IVF16,Flat", search_parameters={"nprobe": 16}, training_rows=700, device="cpu"),
        "floats",
    ),
    "sharded": (Sharded(index=Faiss(device="cpu"), parts=5), "floats"),
    "scan of bits": (Scan(device="cpu"), "bits"),
    "scan of bits in small blocks": (Scan(device="cpu", block_rows=70), "bits"),
    "flat of bits": (Faiss(device="cpu"), "bits"),
    "binary": (Binary(), "bits"),
    "sharded binary": (Sharded(index=Binary(), parts=5), "bits"),
}


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """Rows (M, D), each five times and far from the origin, where products of float32 round at will; their store."""
    rng = np.random.default_rng(3)
    vectors = np.tile(rng.normal(size=(ROWS // 5, DIMENSION)), (5, 1))[rng.permutation(ROWS)]
    vectors[:, 0] = 60
    vectors = vectors.astype(np.float16)
    return vectors, write(tmp_path_factory.mktemp("tied"), vectors)


@pytest.mark.parametrize("name", EXACT)
def test_exact_search_is_one_function(name, tied, tmp_path):
    """Nearest first, lower id first of equals, to the bit, whatever is asked of whichever index."""
    vectors, store = tied
    index, tap = EXACT[name]
    index.build(store, tap, tmp_path)
    rows = (vectors if tap == "floats" else signs(vectors)).astype(np.float32)
    queries = rows[:20].copy()
    flipped = np.random.default_rng(4).random((10, DIMENSION)) < 0.1
    queries[:10] += np.float32(0.1) * flipped if tap == "floats" else -2 * queries[:10] * flipped
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - rows, axis=2).astype(np.float32)  # (N, M)
    opened = index.open(store, tap, tmp_path)
    for count in (ROWS, 1700, 40):
        allowed = np.sort(np.random.default_rng(count).permutation(ROWS)[:count])
        among = None if count == ROWS else Selection.of(allowed, ROWS)
        for k in (1, 7, 33):
            order = np.argsort(distances[:, allowed], axis=1, kind="stable")[:, :k]  # allowed ids ascend
            for many in (1, 20):
                batches = [opened.search(part, k, among) for part in torch.from_numpy(queries).split(many)]
                ids, found = (torch.cat(parts) for parts in zip(*batches, strict=True))
                np.testing.assert_array_equal(ids, allowed[order])
                np.testing.assert_array_equal(found, np.take_along_axis(distances[:, allowed], order, axis=1))
