import itertools
import random

import numpy as np
import pytest

from lit_knn.report.figures.spreading import spread


def test_places_that_are_far_enough_apart_stay():
    assert spread([0.5, 0.1, 0.9], 0.1, 0, 1) == pytest.approx([0.5, 0.1, 0.9])
    assert spread([], 0.1, 0, 1) == []


def test_equal_ones_are_spread_around_where_they_are_or_above_the_bound():
    assert spread([0.5, 0.5, 0.5], 0.1, 0, 1) == pytest.approx([0.4, 0.5, 0.6])
    assert spread([0, 0, 0], 0.1, 0, 1) == pytest.approx([0, 0.1, 0.2])
    assert spread([1, 1, 0.99], 0.1, 0, 1) == pytest.approx([0.9, 1, 0.8])


def test_any_places_keep_order_gap_and_bounds_and_no_others_are_nearer():
    draw = random.Random(0)
    for _ in range(200):
        wanted = [round(draw.random(), 1) for _ in range(draw.randrange(1, 9))]
        found = spread(wanted, 0.1, 0, 1)
        ordered = sorted(found)
        assert all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(ordered))
        assert -1e-9 <= ordered[0] <= ordered[-1] <= 1 + 1e-9
        assert [wanted[place] for place in np.argsort(found)] == sorted(wanted)
        away = sum((a - b) ** 2 for a, b in zip(wanted, found, strict=True))
        for _ in range(50):  # others that keep all of that
            other = np.maximum.accumulate(np.array(ordered) + draw.choice([0.01, 0.1]) * np.random.default_rng(
                draw.randrange(10**6)).normal(size=len(ordered)) - 0.1 * np.arange(len(ordered)))  # fmt: skip
            other += 0.1 * np.arange(len(ordered))
            if other[0] >= 0 and other[-1] <= 1:
                assert sum((a - b) ** 2 for a, b in zip(sorted(wanted), other, strict=True)) >= away - 1e-9
