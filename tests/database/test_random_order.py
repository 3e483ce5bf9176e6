import numpy as np
import pytest

from lit_knn.database.random_order import BLOCK, RandomOrder


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 1297, BLOCK, BLOCK + 1, 200_003])
def test_each_row_has_a_place_of_its_own(rows):
    places = RandomOrder(rows, 0).positions(np.arange(rows))
    np.testing.assert_array_equal(np.sort(places), np.arange(rows))


def test_places_are_computed_row_by_row():
    order = RandomOrder(10**12, 3)
    some = np.array([0, 5, 10**12 - 1, 77_777_777_777])
    assert [int(order.positions(some[n : n + 1])[0]) for n in range(4)] == order.positions(some).tolist()
    assert (order.positions(some) < 10**12).all()


def test_the_same_on_every_machine():
    assert RandomOrder(10, 0).positions(np.arange(10)).tolist() == [9, 0, 5, 4, 3, 1, 2, 7, 8, 6]


def test_every_order_of_a_few_rows_is_as_likely():
    counts = np.zeros((12, 12))
    for seed in range(3000):
        counts[np.arange(12), RandomOrder(12, seed).positions(np.arange(12))] += 1
    chi_square = ((counts - 250) ** 2 / 250).sum()  # 121 degrees of freedom: 121 ± 15.6
    assert 121 - 4 * 15.6 < chi_square < 121 + 4 * 15.6


def test_windows_are_spread_evenly():
    (selection,) = RandomOrder(500_000, 1).selections([(100_000, 105_000)])
    counts = np.bincount(selection.ids() // 5000, minlength=100)  # 50 each, nearly Poisson
    chi_square = ((counts - 50) ** 2 / 50).sum()
    assert 99 - 4 * 14 < chi_square < 99 + 4 * 14


def test_windows_of_one_order():
    order = RandomOrder(BLOCK + 13, 5)
    few, many, rest, every = order.selections([(0, 300), (0, 70_000 - 5000), (65_000, BLOCK + 13), (0, BLOCK + 13)])
    places = order.positions(np.arange(BLOCK + 13))
    for found, (start, stop) in ((few, (0, 300)), (many, (0, 65_000)), (rest, (65_000, BLOCK + 13))):
        expected = np.flatnonzero((places >= start) & (places < stop))
        np.testing.assert_array_equal(found.ids(), expected)
        assert len(found) == len(expected)
        assert found.window == (5, start, stop)
    assert len(every.ids()) == BLOCK + 13


def test_seeds_differ():
    rows = np.arange(1000)
    assert (RandomOrder(1000, 0).positions(rows) == RandomOrder(1000, 1).positions(rows)).mean() < 0.01
