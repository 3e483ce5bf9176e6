"""Are gradients worth having?"""

from __future__ import annotations

from lit_knn.attacks import RandomNoise
from lit_knn.evaluation.checks.base import Check, Evidence
from lit_knn.evaluation.checks.rows import aims_at, cell, grouped, is_above, percent, strongest, where
from lit_knn.report.results import Finding, leading


class GradientMasking(Check):
    """No attack without gradients is stronger than the best one with gradients under the same threat.

    Compared on what a threat attacks: the classifier for a gray box, the copied defense and tap for a white box. A
    black box attacks a network of its own, whose accuracy is no result of the run.

    References:
        Athalye et al. 2018, arXiv:1802.00420; Carlini et al. 2019 (gradient-free attacks).
    """

    name = "gradients are not masked"
    of_single_attacks = True

    def __call__(self, evidence: Evidence) -> Finding:
        """Compare both kinds of attack under each threat, for each variant that it attacks and Δ."""
        threats = {threat.name: threat for threat in evidence.evaluation.threats}
        attacks = evidence.evaluation.attacks  # and so not the worst case over both kinds
        if all(isinstance(attack, RandomNoise) for attack in attacks if attack.gradient_free):
            return Finding(self.name, "skipped", "add an attack without gradients to model.attacks, such as Square")
        rows = [
            row
            for row in leading(evidence.rows)
            if row["delta"] > 0 and row["threat"] in threats and aims_at(threats[row["threat"]], row)
        ]
        free, based = (
            grouped((row for row in rows if row["attack"] in names), lambda row: (row["threat"], cell(row)))
            for names in ({attack.name for attack in attacks if attack.gradient_free is kind} for kind in (True, False))
        )
        pairs = [(strongest(free[key]), strongest(based[key])) for key in free if key in based]
        if not pairs:
            return Finding(
                self.name,
                "skipped",
                "no threat attacks one defense of the run both with and without gradients: add NoDefense to "
                "model.defenses for a gray box, or both kinds of attack with objectives on the defense for a white box",
            )
        wrong = [(found, missed) for found, missed in pairs if is_above(missed, found)]
        if not wrong:
            return Finding(self.name, "pass", f"in {len(pairs):,} comparisons no attack without gradients is stronger")
        found, missed = max(wrong, key=lambda pair: pair[1]["accuracy"] - pair[0]["accuracy"])
        return Finding(
            self.name,
            "fail",
            f"{where(found)} keeps {percent(found['accuracy'])} under {found['attack']}, which takes no gradients, but "
            f"{percent(missed['accuracy'])} under {missed['attack']}: attack a differentiable stand-in of the defense",
        )
