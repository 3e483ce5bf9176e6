"""The one loop of all iterative gradient attacks: step up, project, repeat."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.diversity import diverse
from lit_knn.attacks.gradient import gradient, require_step, start
from lit_knn.attacks.objectives import Bound, Objective, Score
from lit_knn.attacks.remaining import Remaining
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import L2, LINF, Step, column


class GradientDescent(Attack):
    """Take gradient steps on the objective and project each back into the ball of its image.

    Cost:
        ``steps`` forward and backward passes for each Δ and run; with ``enough`` as many as an image needs.

    Args:
        steps: Number of steps, at least 1.
        step: Direction of a step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2
            budget); by default what is steepest in the budget's norm, ``l2`` in L2 and ``sign`` in L∞.
        step_size: Length of all steps of a run together, in radii; above 0.
        random_start: Whether the first run, too, starts uniformly in the ball; by default it starts at the image, which
            with few steps is stronger. Restarts start in the ball in any case, and so do objectives without gradient
            at the image.
        momentum: Decay μ, at least 0: a step follows the sum of all gradients so far, each of L1 norm 1 and shrunk by μ
            at every later step. By default the last gradient alone; 1, as in MI-FGSM, transfers better to other
            networks.
        diversity: Probability with which a step is taken at the image shrunk and moved at random, which transfers
            better to other networks; by default none is, in DI-FGSM 0.5.
        objective: What the attack maximizes; by default the cross-entropy.
        restarts: Number of runs, at least 1; all but the first start at random, and each image keeps its best.
        enough: By how much the best wrong score has to be above the true one for an image to be left as it is: 0 where
            the answer becomes wrong, that of all variants of a white box's tap; by default none is left, nor ever one
            that is made for another network or database.
        seed: Seed of all random numbers, which also depend on the image's id and the number of the run.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``, after
            ``M-`` for momentum and ``DI-`` for diversity.

    References:
        Madry et al. 2018, Section 2.1; Dubey et al. 2019, Section 3.2 and Appendix A; Dong et al. 2018, Algorithm 1
        (momentum); Xie et al. 2019, Section 3 (diversity).
    """

    by_value = False
    norms = (L2, LINF)

    def __init__(
        self,
        *,
        steps: int = 10,
        step: Step | None = None,
        step_size: float = 2.5,
        random_start: bool = False,
        momentum: float = 0.0,
        diversity: float = 0.0,
        objective: Objective | None = None,
        restarts: int = 1,
        enough: float | None = None,
        seed: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective, restarts=restarts, enough=enough, seed=seed, name=name)
        if not name:
            self.name = "M-" * (momentum > 0) + "DI-" * (diversity > 0) + self.name
        if steps < 1 or step_size <= 0:
            raise UserError(f"{self.name} has steps: {steps}, step_size: {step_size}; both must be above 0")
        if not (momentum >= 0 and 0 <= diversity <= 1):
            raise UserError(
                f"{self.name} has momentum: {momentum}, diversity: {diversity}; "
                "momentum from 0 and diversity in [0, 1] are accepted"
            )
        if enough is not None and diversity:
            raise UserError(f"{self.name} has enough: {enough} and diversity: an answer is then to another image")
        self.steps = steps
        self.step = require_step(step)
        self.step_size = step_size
        self.random_start = random_start
        self.momentum, self.diversity = momentum, diversity

    @property
    def run_passes(self) -> int:
        """Those of all steps."""
        return 2 * self.steps

    def prepare(self, attacked: AttackTarget, objective: Bound, randomness: Randomness) -> Perturb:
        """Return the loop; all Δ share the random start and the draws of diverse inputs."""
        norm, at_image = attacked.norm, self.starts_at_image(randomness)
        unit = cache(partial(norm.ball, randomness, attacked.image))  # drawn when an image starts at random
        draws = None
        if self.diversity:
            draws = randomness.of("diversity", randomness.draw).uniform(attacked.image, self.steps, 4)  # (N, steps, 4)

        def perturb(radius: Tensor) -> Tensor:
            left = Remaining(attacked, objective, self.enough)
            radius = left.of(radius)

            def aside() -> Tensor:
                distance, towards = map(left.of, unit())
                return norm.project(left.image + column(radius * distance) * towards, left.image, radius)

            def score(number: int) -> Score:
                return left.objective if draws is None else diverse(left.objective, self.diversity, draws[:, number])

            point, _, ascent = start(left.attacked, score(0), aside, at_image=at_image)
            gathered = torch.zeros_like(ascent)
            for number in range(self.steps):
                if number:
                    _, ascent = gradient(left.attacked, score(number), point)
                point, ascent, gathered, radius = left.narrow(point, point, ascent, gathered, radius)
                if not left:
                    break
                if self.momentum:
                    ascent = gathered = self.momentum * gathered + _of_mass_one(ascent)
                length = column(self.step_size / self.steps * radius)
                point = norm.project(point + length * norm.direction(ascent, self.step), left.image, radius)
            return left.whole(point)

        return perturb


def _of_mass_one(ascent: Tensor) -> Tensor:
    """Return gradients ``(N, 3, H, W)`` of L1 norm 1; one of zero stays zero."""
    mass = ascent.abs().sum(dim=(1, 2, 3), keepdim=True)
    return ascent / mass.clamp_min(torch.finfo(mass.dtype).tiny)
