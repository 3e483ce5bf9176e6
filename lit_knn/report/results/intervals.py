"""Intervals of proportions, and of the difference between two."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z = 1.959964  # quantile of the normal distribution that leaves 2.5 % on each side


def wilson(correct: ArrayLike, total: ArrayLike, z: float = Z) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's score interval of a proportion; nothing seen gives [0, 1].

    Args:
        correct: Counts of any shape, or sums of shares: what varies between 0 and 1 within each trial varies less over
            trials than what is 0 or 1 with the same mean, so that the interval is on the safe side.
        total: Integer counts that broadcast against ``correct``.
        z: Quantile of the normal distribution; the default gives 95 %.

    Returns:
        Lower and upper bounds in [0, 1], float64, of the broadcast shape.

    References:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    right, seen = np.asarray(correct, dtype=np.float64), np.asarray(total, dtype=np.float64)
    n = seen.clip(min=1)
    share = right / n
    center = share + z**2 / (2 * n)
    spread = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    low = np.where(right == 0, 0.0, (center - spread) / scale)  # exact ends, where rounding would leave 1e-17
    high = np.where(right == seen, 1.0, (center + spread) / scale)
    return low, high


def difference_interval(
    a: tuple[float, int], b: tuple[float, int], correlation: float = 0.0, z: float = Z
) -> tuple[float, float]:
    """Return an interval of the difference b − a of two proportions, from Wilson's interval of each.

    Args:
        a: A share in [0, 1], and of how many.
        b: The other share.
        correlation: Of the two where they are of the same images, from `correlation`; 0 where they are not.
        z: Quantile of the normal distribution; the default gives 95 %.

    Returns:
        Lower and upper bounds in [−1, 1].

    References:
        Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10, and
        "Improved confidence intervals for the difference between binomial proportions based on paired data", method 10.
    """
    (share_a, n_a), (share_b, n_b) = a, b
    (low_a, low_b), (high_a, high_b) = wilson([share_a * n_a, share_b * n_b], [n_a, n_b], z)

    def distance(one: float, other: float) -> float:
        return float(np.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2)))

    difference = share_b - share_a
    return (
        difference - distance(share_b - low_b, high_a - share_a),
        difference + distance(high_b - share_b, share_a - low_a),
    )


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the correlation of shares ``(N,)`` of the same N images, a positive one with a correction for few of them.

    Between 0 and 1, the correction takes N / 2 off the difference of the products of the counts on the diagonals.

    References:
        Newcombe 1998, as for `difference_interval`.
    """
    together = float(np.mean(a * b) - a.mean() * b.mean())
    spread = float(a.std() * b.std())
    if together > 0:
        together = max(0.0, together - 1 / (2 * len(a)))
    return together / spread if spread else 0.0
