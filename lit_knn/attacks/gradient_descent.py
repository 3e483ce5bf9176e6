"""The one loop of all iterative gradient attacks: step up, project, repeat."""

from __future__ import annotations

from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.gradient import Step, direction, gradient, require_step, start
from lit_knn.attacks.objectives import Objective, Score
from lit_knn.attacks.perturbation import column, project
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget


class GradientDescent(Attack):
    """Projected gradient steps on the objective, within the ball of each image.

    Args:
        steps: Number of steps, one gradient each.
        step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2 budget).
        step_size: Length of all steps together, in radii.
        random_start: Start the first run, too, uniformly in the ball; by default it starts at the image, which with few
            steps is stronger. Restarts, and objectives without gradient at the image, start in the ball anyway.
        objective: What is maximized; by default the cross-entropy.
        restarts: Runs; all but the first start at random, and the best one is kept for each image.
        seed: Seed of the random starts, together with the image's id and the restart.
        name: What tables and figures call it; by default the class name.

    References:
        Madry et al. 2018, Section 2.1; Dubey et al. 2019, Section 3.2 and Appendix A.
    """

    def __init__(
        self,
        *,
        steps: int = 10,
        step: Step = "l2",
        step_size: float = 2.5,
        random_start: bool = False,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective, restarts=restarts, seed=seed, name=name)
        if steps < 1 or step_size <= 0:
            raise UserError(f"{self.name} has steps: {steps}, step_size: {step_size}; both must be above 0")
        self.steps = steps
        self.step: Step = require_step(step)
        self.step_size = step_size
        self.random_start = random_start

    def prepare(self, attacked: AttackTarget, objective: Score) -> Perturb:
        """Return the loop; nothing is shared between several Δ."""

        def perturb(radius: Tensor, randomness: Randomness) -> Tensor:
            image = attacked.image
            length = column(self.step_size / self.steps * radius)
            adversarial, _, ascent = start(
                attacked,
                objective,
                lambda: project(image + ball(randomness, image, radius), image, radius),
                at_image=self.starts_at_image(randomness),
            )
            for number in range(self.steps):
                if number:
                    _, ascent = gradient(attacked, objective, adversarial)
                adversarial = project(adversarial + length * direction(ascent, self.step), image, radius)
            return adversarial

        return perturb


def ball(randomness: Randomness, image: Tensor, radius: Tensor) -> Tensor:
    """Return a point per image, ``(N, 3, H, W)``, uniform in the ball: the D-th root spreads the radii."""
    distance = radius * randomness.uniform(radius) ** (1 / image[0].numel())  # (N,)
    return column(distance) * randomness.direction(image)
