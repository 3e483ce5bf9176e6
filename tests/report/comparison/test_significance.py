from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest, chi2_contingency, ttest_rel

from lit_knn.report.comparison.significance import holm, mcnemar, paired_t, two_proportions


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (0, 1), (1, 0), (5, 5), (5, 6), (0, 12), (3, 17), (400, 520), (24_000, 26_000)]
)
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    reference = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert mcnemar(only_a, only_b) == pytest.approx(reference, rel=1e-9)
    assert mcnemar(only_b, only_a) == mcnemar(only_a, only_b)


def test_mcnemar_is_right_about_equal_runs_at_least_as_often_as_it_says():
    ways = np.random.default_rng(0).binomial(30, 0.5, size=20_000)
    assert np.mean([mcnemar(way, 30 - way) < 0.05 for way in ways]) <= 0.05


def test_means_of_evaluations_are_compared_by_student():
    random = np.random.default_rng(0)
    a, b = random.binomial(5, 0.7, size=80) / 5, random.binomial(10, 0.65, size=80) / 10
    assert paired_t(b - a) == pytest.approx(ttest_rel(b, a).pvalue)


def test_a_few_differences_show_no_more_than_their_signs_can():
    assert paired_t(np.zeros(10)) == 1
    assert paired_t(np.array([0.2])) == 1
    assert paired_t(np.full(5, 0.2)) == 2**-4
    assert paired_t(np.array([0.2, 0.2, 0.2, *[0.0] * 997])) == pytest.approx(0.25)


def test_two_samples_are_compared_by_the_chi_square_of_their_table():
    table = [[48, 32], [56, 14]]
    assert two_proportions((48 / 80, 80), (56 / 70, 70)) == pytest.approx(
        chi2_contingency(table, correction=False).pvalue
    )
    assert two_proportions((0.0, 10), (0.0, 30)) == 1
    assert two_proportions((1.0, 10), (1.0, 30)) == 1


def test_holm_is_bonferroni_in_each_set_of_hypotheses_that_a_result_is_in():
    for p in np.random.default_rng(3).random((50, 5)) ** 3:
        closed = [
            max(
                min(1.0, len(chosen) * min(p[n] for n in chosen))
                for size in range(1, 6)
                for chosen in combinations(range(5), size)
                if place in chosen
            )
            for place in range(5)
        ]
        assert holm([*p]) == pytest.approx(closed)


def test_holm_of_nothing_of_one_and_of_equal_ones():
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    assert holm([0.01, 0.01, 0.9]) == pytest.approx([0.03, 0.03, 0.9])
