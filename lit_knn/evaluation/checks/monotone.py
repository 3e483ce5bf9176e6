"""Does a larger budget never help the defense?"""

from __future__ import annotations

from lit_knn.evaluation.checks.base import Check, Evidence
from lit_knn.evaluation.checks.rows import grouped, is_above, percent, size, where, who
from lit_knn.report.results import Finding, leading
from lit_knn.report.results.record import Row, variant


class FallsWithDelta(Check):
    """Under each attack the accuracy does not rise with Δ beyond the confidence intervals.

    Whatever an attacker may do within a small ball they may do within a larger one.

    References:
        Carlini et al. 2019 (accuracy against the perturbation budget).
    """

    name = "accuracy falls with the budget"

    def __call__(self, evidence: Evidence) -> Finding:
        """Compare each accuracy with the lowest one of a smaller Δ."""
        lines = grouped(leading(evidence.rows), lambda row: (row["threat"], row["attack"], variant(row)))
        if not lines:
            return Finding(self.name, "skipped", "the run has no results")
        rises = [rise for line in lines.values() for rise in _rises(line)]
        if not rises:
            return Finding(self.name, "pass", f"none of {len(lines):,} curves rises beyond its confidence intervals")
        low, high = max(rises, key=lambda rise: rise[1]["accuracy"] - rise[0]["accuracy"])
        return Finding(
            self.name,
            "fail",
            f"under {who(high)} the accuracy of {where(high)} is {percent(high['accuracy'])}, above the "
            f"{percent(low['accuracy'])} at {size(low)}: the attack does not use its budget",
        )


def _rises(line: list[Row]) -> list[tuple[Row, Row]]:
    """Return pairs of a row and one of a larger Δ that is above it."""
    ordered = sorted(line, key=lambda row: row["delta"])
    lowest = ordered[0]
    rises = []
    for row in ordered[1:]:
        if is_above(row, lowest):
            rises.append((lowest, row))
        lowest = min(lowest, row, key=lambda row: row["accuracy"])
    return rises
