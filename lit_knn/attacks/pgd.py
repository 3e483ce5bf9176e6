"""Projected gradient descent."""

from __future__ import annotations

from lit_knn.attacks.gradient import Step
from lit_knn.attacks.gradient_descent import GradientDescent
from lit_knn.attacks.objectives import Objective


class PGD(GradientDescent):
    """Steps that are longer together than the radius, so that they can follow the surface of the ball.

    Args:
        steps: Number of steps, one gradient each.
        restarts: Runs; all but the first start at random, and the best one is kept for each image.
        random_start: Start the first run, too, uniformly in the ball; by default it starts at the image, which with few
            steps is stronger. Restarts, and objectives without gradient at the image, start in the ball anyway.
        step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2 budget).
        step_size: Length of all steps together, in radii.
        seed: Seed of the random starts, together with the image's id and the restart.
        objective: What is maximized; by default the cross-entropy.
        name: What tables and figures call it; by default the class name.

    References:
        Madry et al. 2018, Section 2.1; Dubey et al. 2019, Section 3.2, which gives no step size.

    Differences from the paper:
        Madry et al. start every run at random.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        restarts: int = 1,
        random_start: bool = False,
        step: Step = "l2",
        step_size: float = 2.5,
        objective: Objective | None = None,
        seed: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(
            objective=objective,
            steps=steps,
            step=step,
            step_size=step_size,
            random_start=random_start,
            restarts=restarts,
            seed=seed,
            name=name,
        )
