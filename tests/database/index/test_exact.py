import numpy as np
import pytest
import torch

from lit_knn.database.index import Running
from lit_knn.database.index.exact import euclidean


def pairs(count, dimension):
    rng = np.random.default_rng(dimension)
    queries, rows = (rng.normal(3, 1, (count, dimension)).astype(np.float32) for _ in range(2))
    return queries, rows, *(rng.integers(0, count, 2 * count) for _ in range(2))


@pytest.mark.parametrize("dimension", [1, 2, 7, 64, 257])
def test_a_distance_is_that_of_float64_rounded_once(dimension):
    queries, rows, query, row = pairs(300, dimension)
    expected = np.linalg.norm(queries.astype(np.float64)[query] - rows.astype(np.float64)[row], axis=1)
    found = euclidean(*map(torch.from_numpy, (queries, query, rows, row)))
    assert np.array_equal(found.numpy(), expected.astype(np.float32))


def test_a_distance_does_not_depend_on_how_many_are_asked_for(monkeypatch):
    queries, rows, query, row = map(torch.from_numpy, pairs(300, 100))
    expected = euclidean(queries, query, rows, row)
    for elements in (1, 1000, 1 << 30):
        monkeypatch.setattr("lit_knn.database.index.exact.ELEMENTS", elements)
        assert torch.equal(euclidean(queries, query, rows, row), expected)
    assert torch.equal(euclidean(queries, query, rows[row]), expected)
    monkeypatch.setattr("lit_knn.database.index.exact.UNIT_DOUBLE", 2.0**-32)  # half of the norms may round otherwise
    assert torch.equal(euclidean(queries, query, rows, row), expected)


def search(queries, rows, k, block):
    running = Running(queries, k)
    for first in range(0, len(rows), block):
        running.compare(first, rows[first : first + block])
    return running.neighbors()


def nearest(queries, rows, k):
    distances = np.linalg.norm(queries.astype(np.float64)[:, None] - rows, axis=2).astype(np.float32)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@pytest.mark.parametrize("block", [11, 300, 1000])
@pytest.mark.parametrize("kind", ["signs", "half whole", "whole", "one point", "descending", "wide"])
def test_the_nearest_rows_of_any_numbers(kind, block, monkeypatch):
    """Also with few pairs and queries at a time, and where every row is as near as the k-th."""
    monkeypatch.setattr("lit_knn.database.index.exact.PAIRS", 64)
    monkeypatch.setattr("lit_knn.database.index.exact.TILE", 16)
    rng = np.random.default_rng(0)
    rows = (
        {
            "signs": rng.choice([-1, 1], (1000, 8)),
            "half whole": np.concatenate([rng.integers(-9, 9, (500, 8)), rng.normal(size=(500, 8))]),
            "whole": rng.integers(0, 5000, (1000, 8)),  # whose squares float32 does not hold
            "one point": np.full((1000, 8), 0.3),
            "descending": np.linspace(2, 1, 1000)[:, None] * np.full(8, 1.7),  # each block is nearer than all before
            "wide": rng.normal(size=(1000, 8)) * 10.0 ** rng.integers(-4, 5, (1000, 1)),
        }[kind]
        .astype(np.float16)
        .astype(np.float32)
    )
    queries = rows[rng.integers(0, 1000, 40)]
    queries[20:] += rng.normal(size=(20, 8)).astype(np.float32) if kind != "signs" else 0
    found = search(torch.from_numpy(queries), rows, 20, block)
    ids, distances = nearest(queries, rows, 20)
    assert np.array_equal(found.ids, ids)
    assert np.array_equal(found.distances, distances)


def test_whole_numbers_that_are_hardly_nearer_than_others():
    rows = np.array([[3.2, 0], [3, 1], [1, 3]], np.float32)
    found = search(torch.zeros(1, 2), rows, 1, 1)
    assert found.ids.tolist() == [[1]]


def test_nothing_around_it_makes_it_less_precise():
    rng = np.random.default_rng(1)
    rows = rng.normal(5, 1, (600, 64)).astype(np.float16).astype(np.float32)
    queries = rows[:50].astype(np.float64) + 0.1 * rng.normal(size=(50, 64))
    ids, distances = nearest(queries.astype(np.float32), rows, 10)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = search(torch.from_numpy(queries), rows, 10, 200)  # float64
            assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert np.array_equal(found.ids, ids)
    assert np.array_equal(found.distances, distances)
