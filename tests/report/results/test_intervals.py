import numpy as np
import pytest
from scipy.stats import binomtest

from lit_knn.report.results.intervals import correlation, difference_interval, wilson


def test_wilson_agrees_with_scipy():
    pairs = [(c, n) for n in (1, 2, 7, 100, 50_000) for c in sorted({0, 1, n // 3, n - 1, n})]
    low, high = wilson(*zip(*pairs, strict=True))
    reference = [binomtest(c, n).proportion_ci(0.95, method="wilson") for c, n in pairs]
    np.testing.assert_allclose(low, [r.low for r in reference], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(high, [r.high for r in reference], rtol=1e-6, atol=1e-12)
    assert low.dtype == np.float64


def test_wilson_of_nothing_and_of_everything():
    low, high = wilson([[0, 0], [0, 9]], [0, 9])  # broadcasts
    assert low[:, 0].tolist() == [0, 0]
    assert high[:, 0].tolist() == [1, 1]
    assert low[0, 1] == 0
    assert high[1, 1] == 1


def test_the_published_interval_of_different_images():
    low, high = difference_interval((48 / 80, 80), (56 / 70, 70))  # Newcombe 1998, Table II (a), method 10
    assert (low, high) == (pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))


def pairs(both, only_a, only_b, neither):
    rows = [(1, 1)] * both + [(1, 0)] * only_a + [(0, 1)] * only_b + [(0, 0)] * neither
    return np.array(rows, dtype=float).T


def of_pairs(a, b):
    return difference_interval((a.mean(), len(a)), (b.mean(), len(b)), correlation(a, b))


def test_the_published_interval_of_the_same_images():
    low, high = of_pairs(*pairs(1, 1, 7, 12))  # Fagerland et al. 2014, bronchial hyperreactivity, by Newcombe
    assert (-high, -low) == (pytest.approx(-0.507, abs=5e-4), pytest.approx(-0.026, abs=5e-4))


def test_the_interval_turns_with_the_runs_and_holds_the_difference():
    a, b = pairs(60, 7, 15, 18)
    low, high = of_pairs(a, b)
    assert low < b.mean() - a.mean() < high
    assert of_pairs(b, a) == (pytest.approx(-high), pytest.approx(-low))
    different = difference_interval((a.mean(), 100), (b.mean(), 100))
    assert high - low < different[1] - different[0]  # the same images tell more


def test_it_covers_the_difference_in_19_of_20_samples():
    random = np.random.default_rng(0)
    hits = random.choice(4, size=(2000, 200), p=[0.5, 0.05, 0.15, 0.3])  # both, only a, only b, neither
    intervals = [of_pairs(np.isin(row, (0, 1)) * 1.0, np.isin(row, (0, 2)) * 1.0) for row in hits]
    assert np.mean([low <= 0.1 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("a", "b"), [((1, 1), (1, 1)), ((0, 0), (1, 1)), ((1,), (0,))])
def test_shares_that_do_not_vary_are_not_correlated(a, b):
    assert correlation(np.array(a, dtype=float), np.array(b, dtype=float)) == 0


def test_many_shares_have_the_correlation_of_numpy_and_negative_ones_no_correction():
    a = np.random.default_rng(1).integers(6, size=100_000) / 5
    b = np.clip(a + np.random.default_rng(2).integers(-2, 3, size=100_000) / 5, 0, 1)
    assert correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-4)
    assert correlation(a[:20], 1 - b[:20]) == pytest.approx(np.corrcoef(a[:20], 1 - b[:20])[0, 1])
