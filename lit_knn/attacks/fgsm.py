"""The fast gradient (sign) method: one gradient, one step, for any number of Δ."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.gradient import gradient, is_flat, require_step
from lit_knn.attacks.gradient_descent import GradientDescent
from lit_knn.attacks.objectives import Bound, Objective
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import L2, LINF, Step, column


class FGSM(Attack):
    """Take one step of the full radius along the gradient at the image.

    Cost:
        One forward and backward pass for all Δ together; with ``random_start`` one for each Δ.

    Args:
        random_start: Whether to start uniformly in the ball instead; images where the objective has no gradient do so
            in any case.
        step: Direction of a step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2
            budget); by default what is steepest in the budget's norm, ``l2`` in L2 and ``sign`` in L∞.
        objective: What the attack maximizes; by default the cross-entropy.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``.

    References:
        Goodfellow et al. 2015, Section 4; Dubey et al. 2019, Appendix A, first equation.
    """

    by_value = False
    norms = (L2, LINF)

    def __init__(
        self,
        *,
        step: Step | None = None,
        random_start: bool = False,
        objective: Objective | None = None,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective, name=name)
        self.step = require_step(step)
        self.random_start = random_start

    @property
    def run_passes(self) -> int:
        """Those of the one gradient."""
        return 2

    def prepare(self, attacked: AttackTarget, objective: Bound, randomness: Randomness) -> Perturb:
        """Take the one gradient."""
        beside = GradientDescent(steps=1, step=self.step, step_size=1, random_start=True)
        aside = beside.prepare(attacked, objective, randomness)
        if self.starts_aside:
            return aside
        _, ascent = gradient(attacked, objective, attacked.image)
        unit, flat = attacked.norm.direction(ascent, self.step), is_flat(ascent)  # (N, 3, H, W), (N,)
        anywhere = bool(flat.any())

        def perturb(radius: Tensor) -> Tensor:
            found = attacked.image + column(radius) * unit
            if not anywhere:
                return found
            with attacked.passes.only(flat):
                return torch.where(column(flat), aside(radius), found)

        return perturb
