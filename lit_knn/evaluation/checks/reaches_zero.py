"""Does the accuracy reach zero?"""

from __future__ import annotations

from lit_knn.errors import UserError
from lit_knn.evaluation.checks.base import Check, Evidence
from lit_knn.evaluation.checks.rows import cell, grouped, percent, size, strongest, where, who
from lit_knn.report.results import Finding, leading
from lit_knn.report.results.record import Row, variant


class ReachesZero(Check):
    """Under its strongest attack each defense variant has next to no accuracy left at the largest Δ.

    An image that may be changed at will can be made anything; an attack that does not get there is broken, or the
    curve stops too early to tell. It is still falling if the largest Δ takes more than about half of it does.

    Args:
        tolerance: Accuracy that counts as none.

    References:
        Carlini et al. 2019 (unbounded attacks reach 0 %); Athalye et al. 2018, arXiv:1802.00420.
    """

    name = "accuracy reaches zero"

    def __init__(self, *, tolerance: float = 0.05) -> None:
        if not 0 <= tolerance < 1:
            raise UserError(f"ReachesZero has tolerance: {tolerance}; values from 0 to below 1 are accepted")
        self.tolerance = tolerance

    def __call__(self, evidence: Evidence) -> Finding:
        """Look at the last Δ of each variant's worst curve."""
        cells = grouped(leading(evidence.rows), cell)
        curves = grouped((strongest(rows) for rows in cells.values()), variant)
        if not curves:
            return Finding(self.name, "skipped", "the run has no results")
        ends = [(curve, max(curve, key=lambda row: row["delta"])) for curve in curves.values()]
        above = [(curve, end) for curve, end in ends if end["accuracy"] > self.tolerance]
        if not above:
            worst = max((end for _, end in ends), key=lambda row: row["accuracy"])
            left = percent(worst["accuracy"])
            return Finding(self.name, "pass", f"no variant keeps more than {left} at {size(worst)}")
        flat = [end for curve, end in above if not _is_falling(curve, end)]
        worst = max(flat or [end for _, end in above], key=lambda row: row["accuracy"])
        kept = f"{where(worst)} keeps {percent(worst['accuracy'])} under {who(worst)}"
        others = f" ({len(above)} of {len(ends)} variants keep more than {percent(self.tolerance)})"
        if flat:
            advice = "and larger ones hardly lower it: attack what is defended, or raise model.deltas if they are tiny"
            return Finding(self.name, "fail", f"{kept}, {advice}{others}")
        return Finding(self.name, "warn", f"{kept}, still falling: raise model.deltas{others}")


def _is_falling(curve: list[Row], end: Row) -> bool:
    """Compare the end with the Δ nearest to half of its own, the smaller one of equally near ones."""
    before = [row for row in curve if row["delta"] < end["delta"]]
    middle = min(before, key=lambda row: (abs(row["delta"] - end["delta"] / 2), row["delta"]), default=end)
    return end["accuracy"] < middle["low"]
