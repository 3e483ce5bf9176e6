import json

import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss
from lit_knn.database.index.recall import Truth
from lit_knn.errors import UserError
from tests.database.index.conftest import write_features

K = 50
TRAINING_ROWS = 2560  # k-means of product quantizers is slow
FACTORIES = {  # factory: (search parameters, least mean share of the true 50 neighbors that is found)
    "Flat": ({}, 1.0),
    "IVF256,Flat": ({"nprobe": 32}, 0.97),
    "IVF256,PQ32": ({"nprobe": 32}, 0.85),
    "IVF256,RaBitQ,Refine(SQ8)": ({"nprobe": 32, "k_factor_rf": 4}, 0.9),
    "HNSW32": ({"efSearch": 128}, 0.97),
}


def recall(found, expected):
    return np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.tolist(), expected.tolist(), strict=True)])


def nearest(store, queries):
    """Brute force in float64."""
    rows = store.features("late", np.arange(len(store))).astype(np.float64)
    squared = (queries.numpy().astype(np.float64)[:, None] - rows) ** 2  # (N, M, D)
    distances = np.sqrt(squared.sum(axis=2))
    ids = np.argsort(distances, axis=1)[:, :K]
    return ids, np.take_along_axis(distances, ids, axis=1)


@pytest.fixture(scope="module")
def truth(store, queries):
    return nearest(store, queries)


@pytest.fixture(scope="module")
def built(store, tmp_path_factory):
    """Every index, built once."""
    folder = tmp_path_factory.mktemp("index")
    paths = {factory: folder / str(number) for number, factory in enumerate(FACTORIES)}
    for factory, path in paths.items():
        Faiss(factory=factory, training_rows=TRAINING_ROWS).build(store, "late", path)
    return paths


def opened(built, store, factory, **options):
    options = {"search_parameters": FACTORIES[factory][0], "device": "cpu"} | options
    return Faiss(factory=factory, training_rows=TRAINING_ROWS, **options).open(store, "late", built[factory])


@pytest.mark.parametrize("factory", FACTORIES)
def test_finds_what_brute_force_finds(factory, built, store, queries, truth):
    neighbors = opened(built, store, factory).search(queries, K)
    assert (neighbors.ids.shape, neighbors.ids.dtype) == ((40, K), torch.int64)
    assert (neighbors.distances.shape, neighbors.distances.dtype) == ((40, K), torch.float32)
    assert (neighbors.distances.diff(dim=1) >= 0).all()
    assert ((neighbors.ids >= 0) & (neighbors.ids < len(store))).all()
    assert all(len(set(row)) == K for row in neighbors.ids.tolist())
    assert recall(neighbors.ids, truth[0]) >= FACTORIES[factory][1]


def test_flat_is_exact(built, store, queries, truth):
    ids, distances = opened(built, store, "Flat").search(queries, K)
    np.testing.assert_allclose(distances, truth[1], rtol=1e-4)
    rows = store.features("late", ids.numpy()).astype(np.float64)  # (N, K, D): the distances are those of the ids
    np.testing.assert_allclose(np.sqrt(((queries.numpy()[:, None] - rows) ** 2).sum(axis=2)), truth[1], rtol=1e-4)


def test_a_row_of_the_store_is_its_own_nearest_neighbor(built, store):
    ids = np.array([0, 3333, 3334, 6667, 9999])  # both sides of the shard boundaries
    found, distances = opened(built, store, "Flat").search(torch.from_numpy(store.features("late", ids)), 1)
    assert found.ravel().tolist() == ids.tolist()
    np.testing.assert_allclose(distances, 0, atol=0.01)


@pytest.mark.parametrize("factory", FACTORIES)
def test_memory_mapped_or_loaded_is_the_same(factory, built, store, queries):
    mapped = opened(built, store, factory, memory_map=True).search(queries, K)
    loaded = opened(built, store, factory, memory_map=False).search(queries, K)
    np.testing.assert_array_equal(mapped.ids, loaded.ids)
    np.testing.assert_array_equal(mapped.distances, loaded.distances)


def test_more_probes_find_more(built, store, queries, truth):
    recalls = []
    for nprobe in (4, 256):
        found = opened(built, store, "IVF256,Flat", search_parameters={"nprobe": nprobe}).search(queries, K).ids
        recalls.append(recall(found, truth[0]))
    assert recalls[0] < recalls[1]
    assert recalls[1] == 1


def test_what_too_few_probes_do_not_find_is_searched_exactly(built, store, queries):
    index = opened(built, store, "IVF256,Flat", search_parameters={"nprobe": 1})
    assert (index.partial(queries, 500).ids < 0).any(axis=1).all()
    ids = index.search(queries, 500).ids
    assert np.array_equal(ids, opened(built, store, "Flat").search(queries, 500).ids)


@pytest.mark.parametrize("factory", ["IVF256,Flat", "IVF256,RaBitQ,Refine(SQ8)"])
def test_the_seed_decides_the_file(factory, store, tmp_path, built):
    def content(seed, name):
        folder = tmp_path / name
        Faiss(factory=factory, seed=seed, training_rows=9984).build(store, "late", folder)
        return (folder / "merged-000003.faiss").read_bytes()

    first = content(0, "first")
    assert content(0, "again") == first
    assert content(1, "other") != first


def test_too_few_rows_to_train_on(small, tmp_path):
    with pytest.raises(UserError, match=r"'IVF512,Flat' cannot be trained on 300 of the 300 rows"):
        Faiss(factory="IVF512,Flat").build(small, "late", tmp_path / "index")
    with pytest.raises(UserError, match=r"'IVF16,Flat' cannot be trained on 5 of the 300 rows"):
        Faiss(factory="IVF16,Flat", training_rows=5).build(small, "late", tmp_path / "index")
    with pytest.raises(UserError, match="training_rows"):
        Faiss(training_rows=0)


def test_auto_chooses_says_so_and_reads_as_many_lists_as_the_recall_wants(monkeypatch, store, tmp_path, caplog):
    monkeypatch.setattr("lit_knn.database.index.plan.EXACT_UP_TO", 5000)
    index, truth = Faiss(factory="auto", recall=0.9), Truth(store, "late", K, queries=60)
    with caplog.at_level("INFO", "lit_knn"):
        index.build(store, "late", tmp_path)
        assert "index of late: IVF512,Flat: about 0.00" in caplog.text  # before anything is built
        with pytest.raises(UserError, match=r"tuned.json is missing; run `lit-knn index` again"):
            index.open(store, "late", tmp_path)  # it was stopped here, and would read one list
        where = set()
        index.tune(
            store,
            "late",
            tmp_path,
            lambda opened: where.add(opened.index.vectors.device) or truth.recall(opened),
        )
    assert where == {"cpu"}  # whatever `device` says
    assert "of 512 lists" in caplog.text
    assert truth.recall(index.open(store, "late", tmp_path)) >= 0.9
    nprobe = json.loads((tmp_path / "tuned.json").read_text())["nprobe"]
    assert index.open(store, "late", tmp_path).built["search_parameters"] == {"nprobe": nprobe}
    half = Faiss(factory="auto", search_parameters={"nprobe": nprobe // 2})
    assert truth.recall(half.open(store, "late", tmp_path)) < 0.9  # and not more; the user's own word counts most


@pytest.mark.parametrize("bits", [16, 64])
def test_auto_reads_few_lists_of_bits_though_many_rows_are_equally_far(bits, tmp_path, monkeypatch):
    monkeypatch.setattr("lit_knn.database.index.plan.EXACT_UP_TO", 100)
    rng = np.random.default_rng(0)
    signs = np.where(rng.normal(size=(4000, 4)) @ rng.normal(size=(4, bits)) > 0, 1, -1)
    store = write_features(tmp_path / "store", signs.astype(np.float32))
    truth, index = Truth(store, "late", 50), Faiss(factory="auto", device="cpu")
    index.build(store, "late", tmp_path)
    index.tune(store, "late", tmp_path, truth.recall)
    opened = index.open(store, "late", tmp_path)
    assert truth.recall(opened) >= 0.95
    assert opened.built["search_parameters"]["nprobe"] <= 16  # of 256


def test_auto_is_exact_for_a_few_rows_and_needs_no_tuning(store, queries, truth, tmp_path):
    index = Faiss(factory="auto")
    index.build(store, "late", tmp_path)
    index.tune(store, "late", tmp_path, lambda opened: 1 / 0)
    assert recall(index.open(store, "late", tmp_path).search(queries, K).ids, truth[0]) == 1
    with pytest.raises(UserError, match=r"recall: 0, memory_gb: None; \(0, 1\] and above 0 are accepted"):
        Faiss(recall=0)
    with pytest.raises(UserError, match=r"memory_gb is 0\.0001: raise it"):
        Faiss(factory="auto", memory_gb=0.0001).build(store, "late", tmp_path / "small")
