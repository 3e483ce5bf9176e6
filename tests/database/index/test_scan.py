import numpy as np
import pytest
import torch

from lit_knn.database.index import Faiss, Scan, Selection, nearest
from lit_knn.database.index.exact import Running
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError

K = 50


@pytest.fixture(scope="module")
def truth(store, queries):
    """Brute force in float64."""
    rows = store.features("late", np.arange(len(store))).astype(np.float64)
    return np.linalg.norm(queries.numpy().astype(np.float64)[:, None] - rows, axis=2)  # (N, M)


def opened(store, tmp_path, share=WHOLE, **options):
    return Scan(device="cpu", **options).open(store, "late", tmp_path, share)


def test_finds_what_brute_force_and_flat_find(store, queries, truth, tmp_path):
    found = opened(store, tmp_path).search(queries, K)
    assert np.array_equal(found.ids, truth.argsort(axis=1)[:, :K])
    np.testing.assert_allclose(found.distances, np.sort(truth, axis=1)[:, :K], rtol=1e-4)
    Faiss(device="cpu").build(store, "late", tmp_path)
    assert np.array_equal(found.ids, Faiss(device="cpu").open(store, "late", tmp_path).search(queries, K).ids)


@pytest.mark.parametrize("block_rows", [7, 1000, 1 << 20])
def test_blocks_do_not_matter(block_rows, store, queries, tmp_path):
    found = opened(store, tmp_path, block_rows=block_rows).search(queries, K)
    assert np.array_equal(found.ids, opened(store, tmp_path).search(queries, K).ids)


def test_only_some_rows(store, queries, truth, tmp_path):
    chosen = np.random.default_rng(0).permutation(len(store))[:700]
    found = opened(store, tmp_path, block_rows=512).search(queries, K, Selection.of(chosen, len(store)))
    among = np.full_like(truth, np.inf)
    among[:, chosen] = truth[:, chosen]
    assert np.array_equal(found.ids, among.argsort(axis=1)[:, :K])


@pytest.mark.parametrize("world", [2, 3, 30])
def test_the_shares_together_are_the_whole_to_the_bit(world, store, queries, tmp_path):
    shares = [opened(store, tmp_path, Partition(rank + 1, world), block_rows=1000) for rank in range(world)]
    found = nearest([share.partial(queries, K) for share in shares], K)
    whole = opened(store, tmp_path, block_rows=1000).search(queries, K)
    assert np.array_equal(found.ids, whole.ids)
    assert np.array_equal(found.distances, whole.distances)
    assert any((share.partial(queries, K).ids < 0).all() for share in shares) == (world == 30)  # of 12 blocks


def test_more_queries_than_a_tile(monkeypatch, store, queries, tmp_path):
    expected = opened(store, tmp_path).search(queries, K)
    monkeypatch.setattr("lit_knn.database.index.exact.TILE", 16)
    assert np.array_equal(opened(store, tmp_path).search(queries, K).ids, expected.ids)


def test_of_equal_rows_the_earlier_block_goes_first():
    running = Running(torch.zeros(1, 2), 3)
    for first in (0, 2, 4):
        running.compare(first, np.array([[3, 4], [6, 8]], np.float32))
    ids, distances = running.neighbors()
    assert (ids.tolist(), distances.tolist()) == ([[0, 2, 4]], [[5, 5, 5]])


def test_a_store_smaller_than_k_is_refused(small, tmp_path):
    with pytest.raises(UserError, match="has 300 rows and cannot find k = 301"):
        opened(small, tmp_path).search(torch.zeros(1, 8), 301)
    with pytest.raises(UserError, match="block_rows of an index takes a number from 1, not 0"):
        Scan(block_rows=0)


@pytest.mark.gpu
def test_the_gpu_finds_the_same(store, queries, tmp_path):
    found = Scan(device="cuda").open(store, "late", tmp_path).search(queries, K)
    expected = opened(store, tmp_path).search(queries, K)
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.distances, expected.distances)


def test_parts_that_share_no_row_are_searched_in_one_reading(store, queries, tmp_path, monkeypatch):
    order = np.random.default_rng(0).permutation(len(store))
    parts = [Selection.of(part, len(store)) for part in (order[:20], order[20:900], order[900:])]
    scan = opened(store, tmp_path, block_rows=512)
    expected = [scan.partial(queries, min(K, len(part)), part) for part in parts]
    read = []
    blocks = type(store).feature_blocks
    monkeypatch.setattr(type(store), "feature_blocks", lambda *args, **named: read.append(0) or blocks(*args, **named))
    found = scan.partials(queries, K, parts)
    assert len(read) == 1
    for one, other, part in zip(found, expected, parts, strict=True):
        size = min(K, len(part))
        np.testing.assert_array_equal(one.ids[:, :size], other.ids)
        assert (one.ids[:, size:] == -1).all()
        assert one.distances[:, size:].isinf().all()
