import numpy as np
import pytest
import torch

from lit_knn.database.index.codes import Grid, Sieve, multiply, rotation, squares


@pytest.mark.parametrize("dimension", [1, 8, 100])
def test_a_rotation_keeps_distances(dimension):
    turn = rotation(dimension).double()
    assert torch.allclose(turn @ turn.T, torch.eye(dimension, dtype=torch.float64), atol=1e-6)
    assert torch.equal(rotation(dimension), rotation(dimension))


@pytest.mark.parametrize("scale", [1e-6, 1, 1e4])
@pytest.mark.parametrize("dimension", [1, 5, 64])
def test_vectors_are_no_farther_from_their_points_than_it_says(dimension, scale):
    vectors = scale * torch.randn(500, dimension, generator=torch.Generator().manual_seed(0))
    grid = Grid.over(vectors[:400])
    codes, errors, beyond = grid.encode(vectors)
    points = codes[:, :dimension].double() * grid.step @ torch.linalg.inv(grid.turn.double())
    assert ((vectors.double() - points).norm(dim=1) <= errors * grid.step).all()
    assert (errors[~beyond] <= dimension**0.5).all()
    assert not beyond[:400].any()
    assert codes.shape[1] % 8 == 0
    assert not codes[:, dimension:].any()


def test_what_the_grid_does_not_reach_is_said():
    grid = Grid.over(torch.eye(3))
    _, errors, beyond = grid.encode(torch.tensor([[0.0, 0, 0], [9, 9, 9]]))
    assert beyond.tolist() == [False, True]
    assert errors[1] * grid.step > 9


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.float64])
def test_products_are_whole(dtype):
    rows, queries = (torch.randint(-127, 128, shape, dtype=torch.int8) for shape in ((37, 64), (64, 8)))
    found = torch.empty(37, 8, dtype=dtype)
    multiply(rows, queries, out=found)
    assert torch.equal(found.long(), rows.long() @ queries.long())
    assert torch.equal(squares(rows).long(), rows.long().square().sum(dim=1))


def sieve_of(monkeypatch, dtype, rows, queries, slack, k, most=10**6):
    monkeypatch.setattr("lit_knn.database.index.codes.product_dtype", lambda device, dimension: dtype)
    return Sieve(queries, torch.full((len(queries),), slack, dtype=torch.float64), k, most)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
@pytest.mark.parametrize("slack", [0.0, 20.0])
@pytest.mark.parametrize("spread", [0, 3, 30, 700], ids="{} rows known".format)
def test_whatever_may_be_among_the_nearest_is_kept(dtype, slack, spread, monkeypatch):
    """In parts of any size; rows of zeros and copies among them; whichever rows set the first limit."""
    monkeypatch.setattr("lit_knn.database.index.codes.PENDING", 500)
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.integers(-127, 128, (700, 16)).astype(np.int8))
    rows[100:110], rows[300:330] = 0, rows[400]
    queries = torch.cat([rows[[5, 105, 401]], torch.full((2, 16), 127, dtype=torch.int8)])
    sieve = sieve_of(monkeypatch, dtype, rows, queries, slack, k=7)
    some = rng.permutation(700)[:spread]
    sieve.expect(rows[some], squares(rows[some]))
    for tiles in ([range(3)], [range(690, 700), range(3, 60)], [range(60, 107), range(107, 690)]):
        sieve.compare(rows, squares(rows), tiles)
    sieve.tighten()
    squared = (queries[:, None].double() - rows.double()).square().sum(dim=2)  # (N, M)
    for number, row in enumerate(squared):
        mine = sieve.query == number
        limit = (row.sort().values[6].sqrt() + 2 * slack).square()
        kept, few = set(sieve.row[mine].tolist()), {*(row <= 1.02 * limit + 100).nonzero()[:, 0].tolist()}
        assert {*(row <= limit).nonzero()[:, 0].tolist()} <= kept <= few
        assert len(kept) == mine.sum()
        assert sieve.likely[mine].sum() >= 7
        assert torch.equal(sieve.squared[mine].double(), row[sieve.row[mine]])
    assert not sieve.crowded.any()


def test_queries_with_too_many_rows_are_crowded(monkeypatch):
    rows = torch.zeros(100, 8, dtype=torch.int8)
    rows[:50] = torch.arange(50, dtype=torch.int8)[:, None]
    queries = torch.tensor([[40] * 8, [0] * 8], dtype=torch.int8)
    sieve = sieve_of(monkeypatch, torch.int32, rows, queries, 0.0, k=5, most=20)
    sieve.compare(rows, squares(rows), [range(100)])
    sieve.tighten()
    assert sieve.crowded.tolist() == [False, True]
    assert set(sieve.query.tolist()) == {0}


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_rows_that_are_known_set_the_limit(dtype, monkeypatch):
    """All of them: to the k-th nearest, but for halves that are rounded; fewer than k: to none."""
    rng = np.random.default_rng(0)
    rows, queries = (torch.from_numpy(rng.integers(-127, 128, (n, 16)).astype(np.int8)) for n in (700, 5))
    sieve = sieve_of(monkeypatch, dtype, rows, queries, 0.0, k=7)
    sieve.expect(rows[:6], squares(rows[:6]))
    assert sieve._limit.isinf().all()
    sieve.expect(rows, squares(rows))
    true = (queries[:, None].double() - rows.double()).square().sum(dim=2).sort().values[:, 6]
    assert ((sieve._limit >= true) & (sieve._limit <= true + 1.1)).all()
