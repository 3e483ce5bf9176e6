"""The fast gradient (sign) method: one gradient, one step, for any number of Δ."""

from __future__ import annotations

from torch import Tensor

from lit_knn.attacks.base import Attack, Noise, Perturb
from lit_knn.attacks.gradient import Step, direction, gradient, require_step
from lit_knn.objectives import Objective, Score
from lit_knn.perturbation import column
from lit_knn.victim import Victim


class FGSM(Attack):
    """One step of the full radius along the gradient at the image.

    Args:
        step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2 budget).
        objective: What is maximized; by default the cross-entropy.
        name: What tables and figures call it; by default the class name.

    References:
        Goodfellow et al. 2015, Section 4; Dubey et al. 2019, Appendix A, first equation.
    """

    def __init__(self, *, step: Step = "l2", objective: Objective | None = None, name: str = "") -> None:
        super().__init__(objective=objective, name=name)
        self.step: Step = require_step(step)

    def prepare(self, victim: Victim, objective: Score) -> Perturb:
        """Take the one gradient."""
        _, ascent = gradient(victim, objective, victim.image)
        unit = direction(ascent, self.step)  # (N, 3, H, W)

        def perturb(radius: Tensor, noise: Noise) -> Tensor:
            del noise
            return victim.image + column(radius) * unit

        return perturb
