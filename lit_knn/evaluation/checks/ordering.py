"""Does an attacker who knows more do more?"""

from __future__ import annotations

from itertools import combinations

from lit_knn.evaluation.checks.base import Check, Evidence
from lit_knn.evaluation.checks.rows import aims_at, cell, grouped, is_above, percent, strongest, where, who
from lit_knn.report.results import Finding, leading
from lit_knn.report.results.record import Row
from lit_knn.threat_models import BlackBox, GrayBox, Threat, WhiteBox

KNOWLEDGE: tuple[type[Threat], ...] = (BlackBox, GrayBox, WhiteBox)  # of whom each can do what those before it can


class ThreatOrder(Check):
    """White boxes are at least as strong as gray boxes, and those as black boxes, within the confidence intervals.

    Each threat counts with its own attacks only. Those of a weaker one are open to the stronger one as well, and the
    worst case over all may count them; here they would hide what is looked for: knowledge that an attack has but cannot
    use. A white box is compared on the defense and tap that it copies. A black box above a gray box fails, as gradients
    are then worse than none; a gray box above a white box is a warning, as the run still reports the gray box.

    References:
        Carlini et al. 2019; Athalye et al. 2018, arXiv:1802.00420 (black-box attacks better than white-box).
    """

    name = "white box ≥ gray box ≥ black box"
    of_single_attacks = True

    def __call__(self, evidence: Evidence) -> Finding:
        """Compare the strongest attack of each level, for each variant and Δ."""
        threats = {threat.name: threat for threat in evidence.evaluation.threats}
        rows = [row for row in leading(evidence.rows) if row["delta"] > 0]
        levels = grouped(rows, lambda row: _level(threats.get(row["threat"]), row))
        best = [
            {key: strongest(group) for key, group in grouped(levels.get(level, []), cell).items()}
            for level in range(len(KNOWLEDGE))
        ]
        pairs = [
            (less[key], more[key], less is best[0])  # what the weaker and the stronger attacker leave
            for less, more in combinations(best, 2)
            for key in less
            if key in more
        ]
        if not pairs:
            return Finding(
                self.name,
                "skipped",
                "the run has one kind of threat: add GrayBox, BlackBox or WhiteBox to model.threats",
            )
        wrong = [pair for pair in pairs if is_above(pair[1], pair[0])]
        if not wrong:
            return Finding(
                self.name, "pass", f"so it is in {len(pairs):,} comparisons, within the confidence intervals"
            )
        less, more, is_black = max(wrong, key=lambda pair: (pair[2], pair[1]["accuracy"] - pair[0]["accuracy"]))
        return Finding(
            self.name,
            "fail" if is_black else "warn",
            f"{where(less)} keeps {percent(less['accuracy'])} under {who(less)}, but {percent(more['accuracy'])} under "
            f"{who(more)}, who knows more: gradients are masked, or the objective is not what it takes",
        )


def _level(threat: Threat | None, row: Row) -> int | None:
    """Return how much the attacker of a row knows; None where it is no attack on what the row is about."""
    if isinstance(threat, WhiteBox) and not aims_at(threat, row):
        return None
    return next((level for level, kind in enumerate(KNOWLEDGE) if isinstance(threat, kind)), None)
