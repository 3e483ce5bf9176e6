"""The fast minimum-norm attack: one short search for the smallest perturbation, used for every Δ."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.gradient import gradient
from lit_knn.attacks.minimum_norm import Smallest, require_signed
from lit_knn.attacks.objectives import Margin, Objective, Score
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import L2, LINF

LAST_STEP = 0.01  # as a share of the first one
LAST_GAMMA = 0.001


class FMN(Attack):
    """Find the smallest perturbation that fools the model: steps up the margin within a ball that fits itself to it.

    The ball of an image shrinks by a share γ where the margin is above κ and grows by it where it is not; until it is
    above κ for the first time, the ball reaches to where it would be κ if it were linear. Steps and γ fall along half a
    cosine. Of all steps, the smallest perturbation whose margin is above κ is kept; where there is none, the step with
    the highest margin. An image that is misclassified from the start is left as it is.

    What was found is used for every Δ, shortened to it where it is longer: the accuracy at Δ is the share of images
    that need a larger perturbation, or less where a shortened one happens to succeed as well.

    Cost:
        ``steps`` forward and backward passes, for all Δ together.

    Args:
        steps: Number of steps, at least 1.
        step_size: L2 length of the first step, in pixels' units, above 0; the last one has a hundredth of it.
        gamma: First share γ by which a ball shrinks or grows, in (0, 1); the last one is 0.001.
        confidence: Margin κ that counts as success, at least 0, in units of the objective; above 0 the result is more
            likely to fool other networks as well.
        objective: The margin that is raised, above 0 for a wrong answer; by default the network's.
        name: Name in tables and figures; by default the class name and the suffix of another objective.

    References:
        Pintor et al. 2021, "Fast minimum-norm adversarial attacks through adaptive norm constraints", Algorithm 1.

    Differences from the paper:
        κ. Each image starts at itself. Until it is fooled, its ball too grows by γ at least: by linear estimates alone,
        steps that are clipped to [0, 1] may come near a boundary and never cross it. A ball is no larger than what the
        image can be changed by in [0, 1], as in the authors' code.
    """

    one_search = True
    norms = (L2, LINF)

    def __init__(
        self,
        *,
        steps: int = 100,
        step_size: float = 1.0,
        gamma: float = 0.05,
        confidence: float = 0.0,
        objective: Objective | None = None,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective or Margin(), name=name or ("" if objective else type(self).__name__))
        if not (steps >= 1 and step_size > 0 and 0 < gamma < 1 and confidence >= 0):
            raise UserError(
                f"{self.name} has steps: {steps}, step_size: {step_size}, gamma: {gamma}, confidence: {confidence}; "
                "steps from 1, step_size above 0, gamma in (0, 1) and confidence from 0 are accepted"
            )
        require_signed(self.name, self.objective)
        self.steps, self.step_size, self.gamma, self.confidence = steps, step_size, gamma, confidence

    @property
    def run_passes(self) -> int:
        """Those of all steps."""
        return 2 * self.steps

    def prepare(self, attacked: AttackTarget, objective: Score, randomness: Randomness) -> Perturb:
        """Do the whole search."""
        del randomness
        found = self._smallest(attacked, objective)
        return lambda radius: attacked.norm.project(found, attacked.image, radius)

    def _smallest(self, attacked: AttackTarget, objective: Score) -> Tensor:
        """Return each image with the smallest perturbation that is enough, or else the one with the highest margin."""
        image, point, norm = attacked.image, attacked.image, attacked.norm
        smallest = Smallest(image, self.confidence, norm)
        farthest = norm.length(torch.maximum(image, 1 - image))  # (N,), of any point in [0, 1]
        tiny = torch.finfo(image.dtype).tiny
        radius = torch.zeros_like(farthest)
        for number in range(self.steps):
            share = (1 + math.cos(math.pi * number / self.steps)) / 2  # from 1 to 0
            gamma = LAST_GAMMA + (self.gamma - LAST_GAMMA) * share
            length = self.step_size * (LAST_STEP + (1 - LAST_STEP) * share)
            margin, ascent = gradient(attacked, objective, point)
            if number == 0:
                attacked.require_finite()  # before all other steps are taken
            enough = smallest.look(point, margin)
            ahead = (self.confidence - margin).abs() / norm.dual(ascent).clamp_min(tiny)  # (N,), if it were linear
            least = torch.where(smallest.length.isinf(), norm.length(point - image) + ahead, 0)
            missed = torch.maximum(radius * (1 + gamma), least)
            radius = torch.where(enough, torch.minimum(radius * (1 - gamma), smallest.length), missed)
            radius = torch.minimum(radius, farthest)
            point = norm.project(point + length * L2.direction(ascent), image, radius)
        return smallest.found
