"""Projected gradient descent."""

from __future__ import annotations

from lit_knn.attacks.gradient import Step
from lit_knn.attacks.gradient_descent import GradientDescent
from lit_knn.objectives import Objective


class PGD(GradientDescent):
    """Steps from a random point of the ball, longer together than the radius, so that they can follow its surface.

    Args:
        steps: Number of steps, one gradient each.
        restarts: Random starts; the best one is kept for each image.
        step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2 budget).
        step_size: Length of all steps together, in radii.
        seed: Seed of the random starts, together with the image's id and the restart.
        objective: What is maximized; by default the cross-entropy.
        name: What tables and figures call it; by default the class name.

    References:
        Madry et al. 2018, Section 2.1; Dubey et al. 2019, Section 3.2, which gives no step size.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        restarts: int = 1,
        step: Step = "l2",
        step_size: float = 2.5,
        objective: Objective | None = None,
        seed: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(
            objective=objective, steps=steps, step=step, step_size=step_size, restarts=restarts, seed=seed, name=name
        )
