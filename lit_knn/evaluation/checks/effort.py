"""Have the attacks had enough?"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.attacks import Attack, GradientDescent
from lit_knn.attacks.objectives import EOT
from lit_knn.errors import UserError
from lit_knn.evaluation.checks.base import Check, Evidence
from lit_knn.evaluation.checks.rows import percent
from lit_knn.evaluation.metrics import hits
from lit_knn.randomness import Randomness, run_seed
from lit_knn.report.results import Finding, Verdict
from lit_knn.report.results.budgets import sized
from lit_knn.threat_models import Threat

FEWEST = 10  # evaluations of a copy that answers at random


class MoreEffort(Check):
    """More steps and more restarts find no more errors of what is attacked: the network, or the copy of the defense.

    The attacks of a threat that count ``steps`` run again on a few queries; as in the run, one that any of them breaks
    is broken. A copy that answers at random is evaluated several times, with numbers that neither attacker nor defender
    draws, and `EOT` tries more draws as well; an image counts with the fewest of its evaluations that an attack leaves
    right. Of the Δ of the run, the one is taken that leaves about half of the answers right: there it shows best
    whether an attack can be stronger. Where the length of a step is set, more steps are as long as those of the run.

    Args:
        factors: How many times more steps; and draws of `EOT`, the largest of them.
        restarts: How many times more restarts.
        tolerance: Fall of the accuracy that counts as none; the default is two of 32 queries.
        fails: Fall from which the check fails instead of warning.

    References:
        Carlini et al. 2019 (attacks run until they gain no more, several random restarts); Mosbach et al. 2018,
        arXiv:1810.12042.
    """

    name = "more effort does not help"

    def __init__(
        self,
        *,
        factors: list[int] = [2, 4],  # noqa: B006 - never changed; jsonargparse prints it as the default
        restarts: int = 4,
        tolerance: float = 0.07,
        fails: float = 0.25,
    ) -> None:
        if not factors or min(factors) < 2 or restarts < 2 or not 0 <= tolerance <= fails:
            raise UserError(
                f"MoreEffort has factors: {factors}, restarts: {restarts}, tolerance: {tolerance}, fails: {fails}; "
                "factors and restarts from 2 and 0 ≤ tolerance ≤ fails are accepted"
            )
        self.factors, self.restarts, self.tolerance, self.fails = sorted(factors), restarts, tolerance, fails

    def __call__(self, evidence: Evidence) -> Finding:
        """Let the iterative attacks of each threat try harder; the threat that gains most decides."""
        suites: dict[Threat, list[Attack]] = {}
        for threat, attack in evidence.evaluation.cases:
            if hasattr(attack, "steps"):
                suites.setdefault(threat, []).append(attack)
        if not suites:
            return Finding(self.name, "skipped", "no attack of the run counts its steps: add PGD to model.attacks")
        curves = [self._curve(evidence, threat, attacks) for threat, attacks in suites.items()]
        worst = max(curves, key=lambda curve: curve.fall)
        verdict: Verdict = "pass" if worst.fall <= self.tolerance else "warn" if worst.fall < self.fails else "fail"
        advice = "" if verdict == "pass" else ": raise steps or restarts until it falls no more"
        return Finding(self.name, verdict, f"{worst}{advice}")

    def _curve(self, evidence: Evidence, threat: Threat, attacks: Sequence[Attack]) -> Curve:
        """Return the accuracy under a threat's attacks with their own effort, and with each larger one."""
        evaluation = evidence.evaluation
        model = threat.attacked(evaluation.classifier)
        surrogate_defense = evaluation.surrogate_defense(threat)

        draws = surrogate_defense is not None and surrogate_defense.defense.random
        own = Randomness(run_seed(), evidence.ids)
        times = max(FEWEST, evaluation.evaluations) if draws else 1
        streams = [own.of("more effort", number) for number in range(times)]

        @torch.no_grad()
        def right(image: Tensor) -> Tensor:
            each = [model(image) if surrogate_defense is None else surrogate_defense.scores(image, s) for s in streams]
            return hits(torch.stack(each), evidence.label, (1,))[:, :, 0].float().mean(dim=1)  # (N,)

        def accuracies(attacks: Sequence[Attack], deltas: Sequence[float]) -> list[float]:
            query = evidence.image, evidence.label, evidence.ids
            left = [
                torch.stack([*map(right, attack(model, *query, deltas, surrogate_defense, evaluation.norm))])
                for attack in attacks
            ]  # (E, N)
            return torch.stack(left).amin(dim=0).mean(dim=1).tolist()

        half = float(right(evidence.image).mean()) / 2
        deltas = evaluation.deltas[1:]
        known = dict(zip(deltas, accuracies(attacks, deltas), strict=True))
        delta = min(deltas, key=lambda delta: (abs(known[delta] - half), -delta))
        steps = {f"{factor}× steps": [_with_steps(attack, factor) for attack in attacks] for factor in self.factors}
        restarts = {f"{self.restarts}× restarts": [_with_restarts(attack, self.restarts) for attack in attacks]}
        most = self.factors[-1]
        averaged = draws and any(isinstance(attack.objective, EOT) for attack in attacks)
        drawn = {f"{most}× draws": [_with_draws(attack, most) for attack in attacks]} if averaged else {}
        tries = {effort: accuracies(harder, [delta])[0] for effort, harder in {**steps, **restarts, **drawn}.items()}
        who = f"{', '.join(attack.name for attack in attacks)} ({threat.name.replace('_', ' ')})"
        return Curve(who, evaluation.norm, delta, known[delta], tries)


class Curve(NamedTuple):
    """Accuracy against effort, under some attacks at one Δ."""

    attacks: str
    norm: str
    delta: float
    own: float
    tries: dict[str, float]

    @property
    def fall(self) -> float:
        """How much the best of the efforts lowers the accuracy; below 0 if all raise it."""
        return self.own - min(self.tries.values())

    def __str__(self) -> str:
        """Say so."""
        tries = ", ".join(f"{percent(accuracy)} with {effort}" for effort, accuracy in self.tries.items())
        return (
            f"under {self.attacks} at {sized(self.norm, self.delta)} the accuracy is {percent(self.own)}, and {tries}"
        )


def _with_steps(attack: Attack, factor: int) -> Attack:
    more = copy.copy(attack)
    more.steps *= factor  # type: ignore[attr-defined]  # of those that have it
    if isinstance(more, GradientDescent):
        more.step_size *= factor  # which is that of all steps together
    return more


def _with_draws(attack: Attack, factor: int) -> Attack:
    more = copy.copy(attack)
    if isinstance(attack.objective, EOT):
        more.objective = copy.copy(attack.objective)
        more.objective.draws *= factor
    return more


def _with_restarts(attack: Attack, factor: int) -> Attack:
    more = copy.copy(attack)
    more.restarts *= factor
    return more
