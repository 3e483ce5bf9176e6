import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss, Resident, Scan, Selection, nearest
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from tests.database.index.conftest import write_features

K = 50


def opened(store, tmp_path, share=WHOLE, tap="late", index=Resident):
    return index(device="cpu").open(store, tap, tmp_path, share)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.fixture
def small_tiles(monkeypatch):
    for name, size in (("TILE", 300), ("SPREAD", 40), ("TILES", 3), ("SAMPLE", 64)):
        monkeypatch.setattr(f"lit_knn.database.index.coded_rows.{name}", size)
    monkeypatch.setattr("lit_knn.database.index.resident.QUERIES", 17)
    monkeypatch.setattr("lit_knn.database.index.resident.PAIRS", 100)


@pytest.mark.parametrize(("k", "holding"), [(1, ()), (50, ()), (2000, ()), (50, ("cpu",))])
def test_it_finds_what_a_scan_finds_among_any_rows(k, holding, store, queries, tmp_path, small_tiles, monkeypatch):
    """Also those beyond its grid, which is that of a few rows; with the store's own features, and with held ones."""
    monkeypatch.setattr("lit_knn.database.index.coded_rows.HOLDING", holding)
    resident, scan = opened(store, tmp_path), opened(store, tmp_path, index=Scan)
    order = np.random.default_rng(0).permutation(len(store))
    selections = [None, *(Selection.of(order[a:b], len(store)) for a, b in ((0, 5000), (2500, 9000), (9999 - k, 9999)))]
    for among in [*selections, *selections]:
        assert_same(resident.search(queries, k, among), scan.search(queries, k, among))
    assert len(resident.searcher._rows.far)


@pytest.mark.parametrize("index", [Resident, Scan, Faiss])
def test_the_default_precision_does_not_matter(index, store, queries, tmp_path):
    """A Trainer of 64-true makes it double within each step, where white boxes search."""
    made = index(device="cpu")
    made.build(store, "late", tmp_path)
    expected = made.open(store, "late", tmp_path).search(queries, 5)
    torch.set_default_dtype(torch.float64)
    try:
        found = made.open(store, "late", tmp_path).search(queries, 5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(found, expected)
    assert found.distances.dtype == torch.float32


@pytest.mark.parametrize("kind", ["whole", "one point", "copies", "wide", "descending", "far away"])
def test_it_finds_what_brute_force_finds(kind, tmp_path, small_tiles, monkeypatch):
    """Of equally near rows those of the lowest ids; where many are, it scans."""
    monkeypatch.setattr("lit_knn.database.index.coded_rows.CROWD", 2)
    rng = np.random.default_rng(0)
    rows = {
        "whole": rng.integers(-9, 9, (1000, 6)),
        "one point": np.full((1000, 6), 0.3),
        "copies": np.tile(rng.normal(size=(100, 6)), (10, 1)),
        "wide": rng.normal(size=(1000, 6)) * 10.0 ** rng.integers(-4, 5, (1000, 1)),
        "descending": np.linspace(2, 1, 1000)[:, None] * np.full(6, 1.7),
        "far away": rng.normal(size=(1000, 6)) + 300,
    }[kind]
    rows = np.clip(rows, -60000, 60000).astype(np.float16).astype(np.float32)
    store = write_features(tmp_path, rows)
    queries = np.concatenate([rows[:20], rows[20:40] + rng.normal(size=(20, 6)), np.full((1, 6), 1e9)]).astype(
        np.float32
    )
    distances = np.linalg.norm(queries[:, None].astype(np.float64) - rows, axis=2).astype(np.float32)  # (N, M)
    order = np.argsort(distances, axis=1, kind="stable")[:, :K]
    ids, found = opened(store, tmp_path).search(torch.from_numpy(queries), K)
    np.testing.assert_array_equal(ids, order)
    np.testing.assert_array_equal(found, np.take_along_axis(distances, order, axis=1))


@pytest.mark.parametrize("world", [2, 30])
def test_the_shares_together_are_the_whole(world, store, queries, tmp_path):
    shares = [opened(store, tmp_path, Partition(rank + 1, world)) for rank in range(world)]
    assert_same(nearest([share.partial(queries, K) for share in shares], K), opened(store, tmp_path).search(queries, K))


def test_neither_batch_nor_processor_matters(store, queries, tmp_path, monkeypatch):
    expected = opened(store, tmp_path).search(queries, K)
    monkeypatch.setattr("lit_knn.database.index.codes.product_dtype", lambda device, dimension: torch.float32)
    resident = opened(store, tmp_path)
    assert_same(resident.search(queries, K), expected)
    for start in (0, 7):
        assert_same(
            resident.search(queries[start : start + 1], K),
            type(expected)(*(part[start : start + 1] for part in expected)),
        )


def test_rows_that_do_not_fit_are_refused(store, tmp_path):
    with pytest.raises(UserError, match=r"rows of tap late take .* raise memory_gb, or use the index Scan or Faiss"):
        Resident(memory_gb=1e-3).open(store, "late", tmp_path)
    with pytest.raises(UserError, match="memory_gb: 0; above 0 is accepted"):
        Resident(memory_gb=0)


@pytest.mark.gpu
def test_the_gpu_finds_the_same(store, queries, tmp_path):
    among = Selection.of(np.random.default_rng(0).permutation(len(store))[:700], len(store))
    resident, scan = Resident(device="cuda").open(store, "late", tmp_path), opened(store, tmp_path, index=Scan)
    for part in (None, among):
        for count in (1, len(queries)):
            assert_same(resident.search(queries[:count], K, part), scan.search(queries[:count], K, part))
