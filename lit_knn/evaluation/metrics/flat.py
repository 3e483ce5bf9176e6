"""Attacks that had no gradient to follow."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lit_knn.evaluation.metrics.sums import Sums
from lit_knn.report.results.budgets import DEFAULT, NormName, sized


class FlatGradients(Sums):
    """In each case and at each Δ, how many queries had a gradient of zero wherever the attack looked.

    An attack that takes no gradients, or finds none better than where it starts, is not among them.

    Args:
        cases: Names (threat, attack), A of them.
        deltas: Sizes of perturbation, E of them.
        norm: What they are in.
    """

    def __init__(self, cases: Sequence[tuple[str, str]], deltas: Sequence[float], norm: NormName = DEFAULT) -> None:
        super().__init__(len(cases), len(deltas))
        self._cases, self._deltas, self._norm = tuple(cases), tuple(deltas), norm

    def update(self, flat: Tensor) -> None:
        """Count a batch, ``(A, E, N)`` bool."""
        self.add(flat.sum(dim=2))

    def cautions(self, seen: int) -> list[str]:
        """Return one sentence for each case in which there are any, at the Δ where there are most.

        Args:
            seen: How many queries there were.
        """
        found = []
        for (threat, attack), counts in zip(self._cases, self.compute().tolist(), strict=True):
            if most := max(counts):
                found.append(
                    f"{threat}: {attack} had no direction for {most:,} of {seen:,} queries at "
                    f"{sized(self._norm, self._deltas[counts.index(most)])}: the gradient is zero wherever it looked, "
                    "as behind rounding, argmax, a detached step or a saturated softmax, so its accuracies are too "
                    "high; add Square, which needs no gradient, or climb what has one: Margin for a softmax, BPDA for "
                    "a defense"
                )
        return found
