"""The one loop of all iterative gradient attacks: step up, project, repeat."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Noise, Objective, Perturb, Victim
from lit_knn.errors import UserError
from lit_knn.perturbation import norm, project

Step = Literal["sign", "l2"]


def gradient(victim: Victim, objective: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objective ``(N,)`` and its gradient ``(N, 3, H, W)`` at ``image``, both detached.

    Raises:
        UserError: If the gradient does not exist or is not finite.
    """
    image = image.detach().requires_grad_()
    value = objective(image)
    if not value.requires_grad:
        raise UserError("the attacked model has no gradient; take an attack that needs none")
    (ascent,) = torch.autograd.grad(value.sum(), image)  # of the pixels only: .grad of the weights is not touched
    victim.require_finite(_maximum(ascent), "the gradient of the attacked model")
    return value.detach(), ascent


def direction(gradient: Tensor, step: Step) -> Tensor:
    """Return the direction of one step, ``(N, 3, H, W)``, of L2 norm 1 (of at most 1 for signs, as sign(0) = 0).

    Args:
        gradient: ``(N, 3, H, W)`` finite. A gradient of zero stays zero.
        step: ``l2`` for G/‖G‖₂, ``sign`` for sign(G)/√D.
    """
    if step == "sign":
        return gradient.sign() / math.sqrt(gradient[0].numel())
    tiny = torch.finfo(gradient.dtype).tiny
    # A confident network's gradient may be so small that its squares vanish: scale it to a largest value of 1 first.
    scaled = gradient / _maximum(gradient).clamp_min(tiny).view(-1, 1, 1, 1)
    return scaled / norm(scaled).clamp_min(tiny).view(-1, 1, 1, 1)


def _maximum(gradient: Tensor) -> Tensor:
    return gradient.flatten(1).abs().amax(dim=1)  # (N,)


class GradientDescent(Attack):
    """Projected gradient steps on the objective, within the ball of each image.

    Args:
        steps: Number of steps, one gradient each.
        step: ``l2`` follows the gradient, ``sign`` its sign (the paper's; weak under an L2 budget).
        step_size: Length of all steps together, in radii.
        random_start: Start uniformly in the ball instead of at the image.
        restarts: Random starts; the one with the highest objective is kept for each image.
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
        random_start: bool = True,
        restarts: int = 1,
        seed: int = 0,
        name: str = "",
    ) -> None:
        super().__init__(restarts=restarts, seed=seed, name=name)
        if steps < 1 or step_size <= 0:
            raise UserError(f"{self.name} has steps: {steps}, step_size: {step_size}; both must be above 0")
        self.steps = steps
        self.step: Step = require_step(step)
        self.step_size = step_size
        self.random_start = random_start

    def prepare(self, victim: Victim, objective: Objective) -> Perturb:
        """Return the loop; nothing is shared between several Δ."""

        def perturb(radius: Tensor, noise: Noise) -> Tensor:
            image = victim.image
            length = (self.step_size / self.steps * radius).view(-1, 1, 1, 1)
            adversarial = project(image + _ball(noise, image, radius), image, radius) if self.random_start else image
            for _ in range(self.steps):
                _, ascent = gradient(victim, objective, adversarial)
                adversarial = project(adversarial + length * direction(ascent, self.step), image, radius)
            return adversarial

        return perturb


def require_step(step: Step) -> Step:
    """Return ``step``, or raise a UserError if there is no such step."""
    if step not in ("sign", "l2"):
        raise UserError(f"step: {step!r} is unknown; sign and l2 are accepted")
    return step


def _ball(noise: Noise, image: Tensor, radius: Tensor) -> Tensor:
    """Return a point per image, ``(N, 3, H, W)``, uniform in the ball: the D-th root spreads the radii."""
    distance = radius * noise.uniform(radius) ** (1 / image[0].numel())  # (N,)
    return distance.view(-1, 1, 1, 1) * noise.direction(image)
