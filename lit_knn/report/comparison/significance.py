"""Whether a difference between two runs is beyond sampling error."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, stdtr  # type: ignore[import-untyped]


def mcnemar(only_a: int, only_b: int) -> float:
    """Return McNemar's exact p value: of as many images as are right in one run only, each is so by a fair coin.

    Args:
        only_a: Number of images that are right in run A and wrong in run B.
        only_b: The other way round.

    Returns:
        In (0, 1], two-sided; 1 where there are none.

    References:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions".
    """
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def paired_t(differences: NDArray[np.float64]) -> float:
    """Return the p value of Student's paired test that the mean of differences ``(N,)`` is 0, two-sided.

    For shares of several evaluations, of which runs may have different numbers. Never below what the fewest and largest
    differences can show: 2^(1 − m), where m of them are not 0, the share of all choices of their signs that agree.

    References:
        Student 1908, "The probable error of a mean"; Fisher 1935, "The design of experiments", section 21.
    """
    n, mean = len(differences), float(differences.mean())
    if mean == 0:
        return 1.0
    error = float(differences.std(ddof=1)) / sqrt(n) if n > 1 else 0.0
    p = 2 * float(stdtr(n - 1, -abs(mean) / error)) if error else 0.0
    return max(p, 2.0 ** (1 - int(np.count_nonzero(differences))))


def two_proportions(a: tuple[float, int], b: tuple[float, int]) -> float:
    """Return the p value of the score test that two shares of different images are the same, two-sided.

    Args:
        a: A share in [0, 1], and of how many images.
        b: The other one.

    References:
        Pearson 1900; its square is the statistic of the χ² test of a 2 × 2 table without correction.
    """
    (share_a, n_a), (share_b, n_b) = a, b
    pooled = (share_a * n_a + share_b * n_b) / (n_a + n_b)
    error = sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    return 2 * float(ndtr(-abs(share_b - share_a) / error)) if error else 1.0


def holm(p: Sequence[float]) -> list[float]:
    """Return p values after Holm's correction: of hundreds of equal rows, any is below .05 in 5 % of cases.

    References:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = sorted(range(len(p)), key=p.__getitem__)
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted
