"""The iterative fast gradient (sign) method."""

from __future__ import annotations

from lit_knn.attacks.gradient_descent import GradientDescent
from lit_knn.attacks.objectives import Objective
from lit_knn.threat_models.norms import Step


class IFGSM(GradientDescent):
    """Take gradient steps from the image that together are as long as the radius.

    Cost:
        ``steps`` forward and backward passes for each Δ.

    Args:
        steps: Number of steps, at least 1.
        step: Direction of a step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2
            budget); by default what is steepest in the budget's norm, ``l2`` in L2 and ``sign`` in L∞.
        random_start: Whether to start uniformly in the ball; by default only images where the objective has no gradient
            do.
        momentum: Decay μ, at least 0, of the earlier gradients that a step follows as well; 1 is MI-FGSM.
        diversity: Probability with which a step is taken at the image shrunk and moved at random; 0.5 is DI-FGSM.
        objective: What the attack maximizes; by default the cross-entropy.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``, after
            ``M-`` for momentum and ``DI-`` for diversity.

    References:
        Kurakin et al. 2017, Section 2.2; Dubey et al. 2019, Section 3.2, whose ε is the length of one step; Dong et
        al. 2018 (MI-FGSM) and Xie et al. 2019 (DI-FGSM), who take signs.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        step: Step | None = None,
        random_start: bool = False,
        momentum: float = 0.0,
        diversity: float = 0.0,
        objective: Objective | None = None,
        name: str = "",
    ) -> None:
        super().__init__(
            objective=objective,
            steps=steps,
            step=step,
            step_size=1,
            random_start=random_start,
            momentum=momentum,
            diversity=diversity,
            name=name,
        )
