"""By how much results of two runs differ, and whether that is beyond sampling error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_knn.report.comparison.matching import Key, Matched, match
from lit_knn.report.comparison.significance import holm, mcnemar, paired_t, two_proportions
from lit_knn.report.results.intervals import correlation, difference_interval
from lit_knn.report.results.record import Row, variant
from lit_knn.report.results.runs import Run
from lit_knn.report.results.samples import Samples, read_samples
from lit_knn.report.settings import Value, differing, settings, surroundings

LEVEL = 0.05  # of the probability that any difference which is called one is none
Share = NDArray[np.float64]


class Difference(NamedTuple):
    """A result of both runs.

    Attributes:
        key: What it is of.
        a: The row of run A.
        b: The row of run B.
        share_a: Accuracy of A, over the images of both runs where they are known.
        share_b: That of B.
        low: Lower end of the 95 % interval of ``share_b − share_a``.
        high: Upper end.
        only_a: Images that are right in A and wrong in B, or in a mean right more often; None where it is not known.
        only_b: The other way round.
        test: What ``p`` is of.
        p: Probability of as large a difference where there is none, of this result alone.
        adjusted: The same after Holm's correction for all results: where many are compared, some differ by chance.
    """

    key: Key
    a: Row
    b: Row
    share_a: float
    share_b: float
    low: float
    high: float
    only_a: int | None
    only_b: int | None
    test: str
    p: float
    adjusted: float = 1.0

    @property
    def size(self) -> float:
        """B minus A, in [−1, 1]."""
        return self.share_b - self.share_a

    @property
    def beyond(self) -> bool:
        """Whether it is beyond sampling error."""
        return self.adjusted < LEVEL


class Comparison(NamedTuple):
    """Two runs beside each other.

    Attributes:
        differences: Of all results of both, the largest first.
        matched: Rows of both, and of only one.
        images: How many images of both the differences are of; 0 where they are not known to be the same.
        unpaired: Why they are not, or "".
        settings: By dotted key, values of A and B that differ.
    """

    differences: list[Difference]
    matched: Matched
    images: int
    unpaired: str
    settings: dict[str, tuple[Value, Value]]


def compare(a: Run, b: Run) -> Comparison:
    """Compare two runs: image by image where both have attacked the same ones and kept what became of each.

    Raises:
        UserError: If a file that says what became of the queries is damaged.
    """
    matched = match(a.record, b.record)
    pairs, unpaired = _paired(a, b, list(matched.both.values()))
    found = [
        _unpaired(key, *rows) if pairs is None else _of_images(key, *rows, pairs[0].counts[n], pairs[1].counts[n])
        for n, (key, rows) in enumerate(matched.both.items())
    ]
    adjusted = holm([difference.p for difference in found])
    found = [difference._replace(adjusted=p) for difference, p in zip(found, adjusted, strict=True)]
    values_a, values_b = differing([a.record, b.record], lambda record: settings(record) | surroundings(record))
    return Comparison(
        sorted(found, key=lambda difference: -abs(difference.size)),
        matched,
        0 if pairs is None else len(pairs[0].ids),
        unpaired,
        {key: (value, values_b[key]) for key, value in values_a.items()},
    )


def _paired(a: Run, b: Run, both: Sequence[tuple[Row, Row]]) -> tuple[tuple[Samples, Samples] | None, str]:
    """Return what both runs count of the images that both have, in one order; or why that is not known."""
    sources = [run.record.queries.get("source") for run in (a, b)]
    if sources[0] != sources[1] or sources[0] is None:
        return None, f"the queries are other images: A {sources[0] or 'unknown'}, B {sources[1] or 'unknown'}"
    samples = []
    for name, run, rows in (("A", a, [row for row, _ in both]), ("B", b, [row for _, row in both])):
        found = read_samples(run, rows)
        if found is None:
            return None, f"{name} does not hold what became of each image of its record; run the same test again"
        samples.append(found)
    _, here, there = np.intersect1d(samples[0].ids, samples[1].ids, assume_unique=True, return_indices=True)
    if not len(here):
        return None, "no image is in both runs"
    in_a, in_b = (
        Samples(part.ids[places], part.counts[:, places]) for part, places in zip(samples, (here, there), strict=True)
    )
    return (in_a, in_b), ""


def _of_images(key: Key, a: Row, b: Row, counts_a: NDArray[np.int16], counts_b: NDArray[np.int16]) -> Difference:
    """Compare what became of the same N images, ``(N,)``."""
    lines = variant(a), variant(b)
    in_a, in_b = (counts / line.trials for counts, line in zip((counts_a, counts_b), lines, strict=True))
    only_a, only_b, n = int((in_a > in_b).sum()), int((in_b > in_a).sum()), len(in_a)
    share_a, share_b = float(in_a.mean()), float(in_b.mean())
    low, high = difference_interval((share_a, n), (share_b, n), correlation(in_a, in_b))
    if max(line.trials for line in lines) == 1:
        test, p = "McNemar", mcnemar(only_a, only_b)
    else:
        test, p = "paired t", paired_t(in_b - in_a)
    return Difference(key, a, b, share_a, share_b, low, high, only_a, only_b, test, p)


def _unpaired(key: Key, a: Row, b: Row) -> Difference:
    """Compare shares of images that are not known to be the same."""
    shares = (a["accuracy"], a["n"]), (b["accuracy"], b["n"])
    low, high = difference_interval(*shares)
    return Difference(
        key, a, b, a["accuracy"], b["accuracy"], low, high, None, None, "two proportions", two_proportions(*shares)
    )
