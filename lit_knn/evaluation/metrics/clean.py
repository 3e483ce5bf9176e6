"""What the clean queries tell about a run, before anything is attacked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.evaluation.metrics.sums import Sums
from lit_knn.report.results.intervals import wilson


class CleanCounts(NamedTuple):
    """What the clean queries are.

    Attributes:
        seen: How many there are.
        right: How many the classifier itself gets right.
        stored: How many are in the database.
    """

    seen: int
    right: int
    stored: int


class CleanQueries(Sums):
    """The sums of `CleanCounts` over all processes, int64: any number of processes merges to the same numbers."""

    def __init__(self) -> None:
        super().__init__(3)

    def update(self, right: Tensor, stored: Tensor) -> None:
        """Count a batch: ``(N,)`` bool, whether the classifier is right and whether the database has the image."""
        self.add(torch.stack([torch.ones_like(right), right, stored]).sum(dim=1))

    def counts(self) -> CleanCounts:
        """Merge the processes and return the sums."""
        return CleanCounts(*self.compute().tolist())


def cautions(counts: CleanCounts, num_classes: int) -> list[str]:
    """Return what to know about a run before its numbers are believed, in full sentences.

    A classifier is taken to guess if the 95 % Wilson interval of its clean accuracy reaches down to 1 / C.

    Args:
        counts: Of all queries.
        num_classes: C.
    """
    found = []
    seen, right, stored = counts
    low, _ = wilson(right, seen)
    if seen and low <= 1 / num_classes:
        found.append(
            f"the classifier is right about {right:,} of {seen:,} clean queries, no better than guessing one of "
            f"{num_classes:,} classes: look at which classes the labels mean, at mean and std, and at the weights"
        )
    if stored:
        found.append(
            f"{stored:,} of {seen:,} queries {'is' if stored == 1 else 'are'} in the database, with their own "
            "features: each finds itself, and accuracies of retrieval are too high; take other images for data.queries "
            "or data.database"
        )
    return found
