"""Is an attack more than noise?"""

from __future__ import annotations

from lit_knn.attacks import RandomNoise
from lit_knn.errors import UserError
from lit_knn.evaluation.checks.base import Check, Evidence
from lit_knn.evaluation.checks.rows import cell, grouped, is_above, percent, strongest, where, who
from lit_knn.report.results import Finding, leading
from lit_knn.report.results.record import Row, variant


class NoiseFloor(Check):
    """At some Δ each variant keeps far more under random noise than under its strongest attack.

    Args:
        gap: How far apart the two accuracies must be where they are farthest apart, in (0, 1].

    References:
        Carlini et al. 2019 (brute-force search and random noise).
    """

    name = "noise is far weaker than attacks"
    of_single_attacks = True

    def __init__(self, *, gap: float = 0.2) -> None:
        if not 0 < gap <= 1:
            raise UserError(f"NoiseFloor has gap: {gap}; values above 0 to 1 are accepted")
        self.gap = gap

    def __call__(self, evidence: Evidence) -> Finding:
        """Compare noise and attacks at the Δ where they differ most, for each variant."""
        noises = {attack.name for attack in evidence.evaluation.attacks if isinstance(attack, RandomNoise)}
        if not noises:
            return Finding(self.name, "skipped", "add RandomNoise to model.attacks")
        # the worst of several evaluations is little under noise as well, whatever attacks do
        rows = [row for row in leading(evidence.rows) if row["delta"] > 0 and row["protocol"] in ("", "mean")]
        noise = grouped((row for row in rows if row["attack"] in noises), cell)
        others = {attack.name for attack in evidence.evaluation.attacks} - noises  # the worst case holds noise as well
        attacks = grouped((row for row in rows if row["attack"] in others), cell)
        pairs = [(strongest(noise[key]), strongest(attacks[key])) for key in noise if key in attacks]
        if not pairs:
            return Finding(self.name, "skipped", "add an attack besides RandomNoise to model.attacks")
        widest: dict[object, tuple[Row, Row]] = {}
        for pair in sorted(pairs, key=_gap):  # the last one stays
            widest[variant(pair[0])] = pair
        floor, attacked = min(widest.values(), key=_gap)
        seen = (
            f"{where(floor)} keeps {percent(floor['accuracy'])} under noise and {percent(attacked['accuracy'])} under "
            f"{who(attacked)}"
        )
        if not is_above(floor, attacked):
            return Finding(
                self.name, "fail", f"{seen}, and at no other size more: its attacks are no better than noise"
            )
        if floor["accuracy"] - attacked["accuracy"] < self.gap:
            return Finding(self.name, "warn", f"{seen}, and at no other size they are farther apart: attack it better")
        return Finding(self.name, "pass", f"of all variants the two are closest for this one: {seen}")


def _gap(pair: tuple[Row, Row]) -> float:
    return pair[0]["accuracy"] - pair[1]["accuracy"]
