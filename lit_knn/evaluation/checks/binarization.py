"""Does an attack find what is there to be found?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from lit_knn.attacks import Attack
from lit_knn.attacks.objectives.classifier import without_true
from lit_knn.defenses import KNN, Defense, FusedKNN, Rejecting
from lit_knn.defenses.rejecting import AcceptedAnswer
from lit_knn.errors import UserError
from lit_knn.evaluation.checks.base import Check, Evidence
from lit_knn.evaluation.checks.binarization_gallery import BinarizationGallery
from lit_knn.evaluation.checks.rows import percent
from lit_knn.randomness import Randomness
from lit_knn.report.results import Finding, Verdict
from lit_knn.report.results.budgets import parse_size
from lit_knn.threat_models import Threat
from lit_knn.threat_models.budget import Budget
from lit_knn.threat_models.norms import Norm, column
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

CONTROLS = 8  # random images asked for each query
CHANCE = 0.05  # what they may find before the test says nothing
AT_ONCE = 64  # images of one forward pass
OWN_STREAM = -1  # of random numbers: attacks count their restarts from 0


class BinarizationTest(Check):
    """A white-box attack finds one wrong row that is known to be within its reach, with K = 1.

    The defense is changed so that each image has an adversarial example that random search does not find. Its database
    is replaced by the features of images: of the query itself and of ``inner`` random points of the surface of its
    ball, all of the true class, and of one more such point, planted with a wrong class. That point fools the defense;
    by symmetry any other random one does at most once in ``inner`` + 1 times, at each tap that is searched. The attacks
    of the run then look for it, with the network, taps and settings of the run; its index takes no part. Each image has
    a database of its own, as the rows of others would be other ways to be wrong. As in the run, an image that any
    attack of the threat finds is found. Tested are white boxes of a kNN, at one tap or at several together, and of one
    that rejects, whose wrong answer must be accepted. The finding names all others: of a random part of the rows the
    planted one may be missing.

    Args:
        inner: Random points of the true class around each image; more make the wrong one harder to find.
        delta: Size of the ball before pixels are clipped to [0, 1]; by default the middle one of the run.
        passes: Share of the images from which the check passes.
        fails: Share below which it fails.
        seed: Seed of the points, together with the image's id.

    References:
        Zimmermann et al. 2022, "Increasing Confidence in Adversarial Robustness Evaluations", the binarization test.
    Differences from the paper:
        A row takes the place of a new linear readout, as nearest neighbors need no training. Inner points lie as far
        out as the planted one, not nearer to the image, so that distance alone does not lead to it. A run that starts
        at the image starts in the middle of all of them, where their pulls cancel: a restart finds what it misses.
    """

    name = "a planted row is found"

    def __init__(
        self,
        *,
        inner: int = 63,
        delta: float | str | None = None,
        passes: float = 0.9,
        fails: float = 0.5,
        seed: int = 0,
    ) -> None:
        size = None if delta is None else parse_size(delta, "BinarizationTest.delta")
        if inner < 1 or not 0 <= fails <= passes <= 1 or not (size is None or size > 0):
            raise UserError(
                f"BinarizationTest has inner: {inner}, delta: {delta}, fails: {fails}, passes: {passes}; inner from 1, "
                "delta above 0 and 0 ≤ fails ≤ passes ≤ 1 are accepted"
            )
        self.inner, self.delta, self.passes, self.fails, self.seed = inner, size, passes, fails, seed

    def __call__(self, evidence: Evidence) -> Finding:
        """Plant and attack image by image, for each white box; the one that finds least decides."""
        evaluation = evidence.evaluation
        suites: dict[Threat, list[Attack]] = {}
        others: dict[str, None] = {}
        for threat, attack in evaluation.cases:
            surrogate_defense = evaluation.surrogate_defense(threat)
            if surrogate_defense is None:
                continue
            if _of_one(surrogate_defense.defense) is not None:
                suites.setdefault(threat, []).append(attack)
            else:
                others[threat.name.replace("_", " ")] = None
        untested = f"; not tested, as it is no kNN of all rows: {', '.join(others)}" if others else ""
        if not suites:
            advice = "add WhiteBox to model.threats, and an attack whose objective looks at neighbors, such as SoftKNN"
            return Finding(self.name, "skipped", f"no attack of the run looks for neighbors: {advice}{untested}")
        delta = self.delta or evaluation.deltas[len(evaluation.deltas) // 2]
        evaluation.budget.verify([delta])
        trials = [self._trial(evidence, threat, attacks, delta) for threat, attacks in suites.items()]
        if any(trial.control > CHANCE for trial in trials):
            chance = percent(max(trial.control for trial in trials))
            return Finding(
                self.name,
                "warn",
                f"random images find it in {chance} of all trials: raise BinarizationTest's inner{untested}",
            )
        worst = min(trials, key=lambda trial: trial.found)
        verdict: Verdict = "pass" if worst.found >= self.passes else "warn" if worst.found >= self.fails else "fail"
        advice = "" if verdict == "pass" else ": an attack that misses it may miss others, give it more steps"
        return Finding(self.name, verdict, f"{worst}{advice}{untested}")

    def _trial(self, evidence: Evidence, threat: Threat, attacks: Sequence[Attack], delta: float) -> Trial:
        """Return how many images one threat's attacks find."""
        evaluation = evidence.evaluation
        model = threat.attacked(evaluation.classifier)
        original = cast(SurrogateDefense, evaluation.surrogate_defense(threat))
        found = torch.zeros(len(attacks), len(evidence.image), dtype=torch.bool)
        control, realized = [], []
        for n in range(len(evidence.image)):
            image, label, ids = (part[n : n + 1] for part in (evidence.image, evidence.label, evidence.ids))
            planted = self._plant(original, image, label, ids, delta, evaluation.budget)
            for row, attack in enumerate(attacks):
                (adversarial,) = attack(model, image, label, ids, [delta], planted.surrogate_defense, evaluation.norm)
                found[row, n] = bool(_is_wrong(planted.surrogate_defense, adversarial, label))
            control.append(_is_wrong(planted.surrogate_defense, planted.control, label).float().mean())
            realized.append(evaluation.budget.realized(image, planted.point))
        return Trial(
            threat.name,
            float(found.any(dim=0).float().mean()),
            {attack.name: float(share.float().mean()) for attack, share in zip(attacks, found, strict=True)},
            float(torch.stack(control).mean()),
            f"{evaluation.budget.unit.symbol} of {float(torch.cat(realized).mean()):.3g}",
        )

    @torch.no_grad()
    def _plant(
        self, original: SurrogateDefense, image: Tensor, label: Tensor, ids: Tensor, delta: float, budget: Budget
    ) -> Plot:
        """Return a defense of one image ``(1, 3, H, W)`` in which one row is wrong."""
        randomness, radius = Randomness(self.seed, ids, draw=OWN_STREAM), budget.radius(image, delta)
        sphere = torch.cat([_point(budget.norm, image, radius, randomness) for _ in range(1 + self.inner + CONTROLS)])
        points, control = sphere[: 1 + self.inner], sphere[1 + self.inner :]
        rows = torch.cat([points, image])  # the planted one first
        parts = [original.searched(part) for part in rows.split(AT_ONCE)]
        features = {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}
        logits = original.classifier(image)
        wrong = without_true(logits, label).argmax(dim=1)  # (1,): what the network finds likeliest
        vote = torch.cat([wrong, label.expand(len(rows) - 1)])
        gallery = BinarizationGallery(original.gallery, features, vote, rows)
        surrogate_defense = SurrogateDefense(original.classifier, cast(Defense, _of_one(original.defense)), gallery)
        return Plot(surrogate_defense, points[:1], control)


class Plot(NamedTuple):
    """A changed defense, the image ``(1, 3, H, W)`` that fools it, and random ones ``(CONTROLS, 3, H, W)``."""

    surrogate_defense: SurrogateDefense
    point: Tensor
    control: Tensor


class Trial(NamedTuple):
    """Shares of the images for which the planted row was found: by any attack, by each, and by random images."""

    threat: str
    found: float
    each: dict[str, float]
    control: float
    size: str

    def __str__(self) -> str:
        """Say so."""
        each = ", ".join(f"{name} {percent(share)}" for name, share in self.each.items())
        return (
            f"{percent(self.found)} found under {self.threat.replace('_', ' ')} at a mean {self.size} "
            f"({each}; random images {percent(self.control)})"
        )


def _of_one(copy: Defense) -> Defense | None:
    """Return the same with one neighbor, by the threshold that it has if it rejects; None of what is no kNN."""
    if isinstance(copy, AcceptedAnswer):
        inner, least = _of_one(copy.defense), copy.rejecting.confidence
        if inner is None:
            return None
        limit = min(copy.limit, 1.0 if least == "agreement" else -torch.finfo(torch.float32).tiny)
        return AcceptedAnswer(rejecting=Rejecting(defense=inner, confidence=least, threshold=limit), defense=inner)
    if isinstance(copy, FusedKNN):
        return FusedKNN(
            taps=copy.taps, fusion=copy.fusion, k=[1], weightings=copy.weightings, combinations=copy.combinations
        )
    if isinstance(copy, KNN):
        return KNN(taps=copy.taps, k=[1], weightings=copy.weightings, combinations=copy.combinations)
    return None


def _point(norm: Norm, image: Tensor, radius: Tensor, randomness: Randomness) -> Tensor:
    return norm.project(image + column(radius) * norm.surface(randomness, image), image, radius)


@torch.no_grad()
def _is_wrong(surrogate_defense: SurrogateDefense, image: Tensor, label: Tensor) -> Tensor:
    """Return for each image ``(N, 3, H, W)`` whether the answer is not the label ``(1,)``, and accepted: ``(N,)``."""
    defense, query = surrogate_defense.defense, surrogate_defense.query(image)
    scores = defense(query)[0]
    acceptance = defense.acceptance(query, scores, label.expand(len(image)))
    wrong = scores.argmax(dim=1) != label
    return wrong if acceptance is None else wrong & (acceptance >= 0)
