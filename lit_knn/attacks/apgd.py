"""Auto-PGD: projected gradient ascent that finds its own step size."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.gradient import gradient, start
from lit_knn.attacks.objectives import Bound, Objective
from lit_knn.attacks.remaining import Remaining
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import L2, LINF, column

MOMENTUM = 0.75  # α: the share of the new step, the rest goes on as before


class APGD(Attack):
    """Climb the objective with momentum and a step length that each image halves when it stops gaining.

    Steps are twice the radius long at first. At checkpoints, an image whose objective rose in too few steps, or whose
    best value did not improve since the last one, goes on from its best point with half the length.

    Cost:
        ``steps + 1`` forward and backward passes for each Δ and run; with ``enough`` as many as an image needs.

    Args:
        steps: Number of steps, at least 1.
        objective: What the attack maximizes; by default the cross-entropy.
        restarts: Number of runs, at least 1; all but the first start at random, and each image keeps its best.
        random_start: Whether the first run, too, starts at random on the surface of the ball; by default it starts at
            the image. Restarts start there in any case, and so do images where the objective has no gradient.
        enough: By how much the best wrong score has to be above the true one for an image to be left as it is: 0 where
            the answer becomes wrong, that of all variants of a white box's tap; by default none is left, nor ever one
            that is made for another network or database.
        rho: Share ρ of the steps between two checkpoints that must raise the objective, in (0, 1].
        seed: Seed of the random starts, which also depend on the image's id and the number of the run.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``.

    References:
        Croce and Hein 2020, Algorithm 1 and Section 3.

    Differences from the paper:
        The first run starts at the image. The other differences are those of the authors' code: random starts lie on
        the surface of the ball; a share of rising steps of exactly ρ counts as too few; the first step after a return
        to the best point is compared with the point that was left; gaps between checkpoints are rounded down, and are 1
        at least.
    """

    norms = (L2, LINF)

    def __init__(
        self,
        *,
        steps: int = 100,
        objective: Objective | None = None,
        restarts: int = 1,
        random_start: bool = False,
        rho: float = 0.75,
        enough: float | None = None,
        seed: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective, restarts=restarts, enough=enough, seed=seed, name=name)
        if steps < 1 or not 0 < rho <= 1:
            raise UserError(f"{self.name} has steps: {steps}, rho: {rho}; steps from 1 and rho in (0, 1] are accepted")
        self.steps, self.random_start, self.rho = steps, random_start, rho

    @property
    def run_passes(self) -> int:
        """Those of all steps."""
        return 2 * (self.steps + 1)

    def prepare(self, attacked: AttackTarget, objective: Bound, randomness: Randomness) -> Perturb:
        """Return the loop; all Δ share the random start."""
        norm, at_image = attacked.norm, self.starts_at_image(randomness)
        unit = cache(partial(norm.surface, randomness, attacked.image))  # drawn when an image starts at random

        def perturb(radius: Tensor) -> Tensor:
            left = Remaining(attacked, objective, self.enough)
            radius = left.of(radius)

            def aside() -> Tensor:
                return norm.project(left.image + column(radius) * left.of(unit()), left.image, radius)

            point, value, ascent = start(left.attacked, left.objective, aside, at_image=at_image)
            previous, length = point, 2 * radius
            best, highest, steepest = point, value, ascent
            # of each image, since the last checkpoint: steps that went up, the best value then, whether it was halved
            rises, before, halved, last = torch.zeros_like(value), value, torch.ones_like(value, dtype=torch.bool), 0
            judged = checkpoints(self.steps)
            for number in range(self.steps + 1):
                if number:
                    ahead = norm.project(point + column(length) * norm.direction(ascent), left.image, radius)
                    share = MOMENTUM if number > 1 else 1.0
                    ahead = point + share * (ahead - point) + (1 - share) * (point - previous)
                    previous, point, lower = point, norm.project(ahead, left.image, radius), value
                    value, ascent = gradient(left.attacked, left.objective, point)
                    rises += value > lower
                    better = value > highest
                    best, highest = _where(better, point, best), torch.where(better, value, highest)
                    steepest = _where(better, ascent, steepest)
                state = (point, previous, value, ascent, best, highest, steepest, rises, before, halved, length, radius)
                kept = left.narrow(point, *state)
                point, previous, value, ascent, best, highest, steepest, rises, before, halved, length, radius = kept
                if not left:
                    break
                if number in judged:
                    halved = (rises <= self.rho * (number - last)) | (~halved & (highest <= before))
                    length = torch.where(halved, length / 2, length)
                    point, ascent = _where(halved, best, point), _where(halved, steepest, ascent)
                    rises, before, last = torch.zeros_like(value), highest, number
            return left.whole(best)

        return perturb


def checkpoints(steps: int) -> set[int]:
    """Return after which steps progress is judged: at 22 % of them, then each gap is 3 % shorter, down to 6 %.

    Example:
        >>> sorted(checkpoints(100))
        [22, 41, 57, 70, 80, 87, 93, 99]
    """
    gap, shorter, shortest = (max(percent * steps // 100, 1) for percent in (22, 3, 6))
    found, number = set(), gap
    while number <= steps:
        found.add(number)
        gap = max(gap - shorter, shortest)
        number += gap
    return found


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(column(chosen), new, old)
