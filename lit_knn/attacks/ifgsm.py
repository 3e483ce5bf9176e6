"""The iterative fast gradient (sign) method."""

from __future__ import annotations

from lit_knn.attacks.gradient import Step
from lit_knn.attacks.gradient_descent import GradientDescent
from lit_knn.attacks.objectives import Objective


class IFGSM(GradientDescent):
    """Steps from the image itself that together are as long as the radius.

    Args:
        steps: Number of steps, one gradient each.
        step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2 budget).
        random_start: Start uniformly in the ball; by default only images where the objective has no gradient do.
        objective: What is maximized; by default the cross-entropy.
        name: What tables and figures call it; by default the class name.

    References:
        Kurakin et al. 2017, Section 2.2; Dubey et al. 2019, Section 3.2, whose ε is the length of one step.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        step: Step = "l2",
        random_start: bool = False,
        objective: Objective | None = None,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective, steps=steps, step=step, step_size=1, random_start=random_start, name=name)
