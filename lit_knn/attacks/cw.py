"""Carlini and Wagner's L2 attack: the smallest perturbation that is enough, looked for once and used for every Δ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.gradient import direction, gradient
from lit_knn.attacks.objectives import Margin, Objective, Score
from lit_knn.attacks.perturbation import column, norm, project
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget

Mode = Literal["min_norm", "paper"]

INSIDE = 1 - 1e-6  # black and white lie at infinity in tanh space: start just before them


class CWL2(Attack):
    """Adam on ‖x' − x‖² + c · max(0, κ − margin(x')), with a binary search for the smallest c that is enough.

    Images are w ↦ (tanh w + 1) / 2, so that nothing is ever clipped. Everything is done for each image on its own:
    its constant c, its Adam, and the smallest perturbation kept, from any step of any c, whose margin is above κ. Where
    there is none, the step with the highest margin is kept. An image that is wrong from the start is left as it is.

    One search of ``binary_search_steps · steps`` gradients serves every Δ:

    - ``min_norm``: what was found, shortened to Δ where it is longer. Accuracy as a function of Δ is then the share of
      images whose norm found is larger, or less where the search left room and a shortened one is enough as well.
    - ``paper``: what was found, stretched or shortened to exactly Δ. Guo et al. multiply all perturbations by one
      number, so that Δ is met on average; here each image has its own.

    Args:
        mode: ``min_norm`` or ``paper``.
        confidence: κ, the margin that is enough, in units of the objective; above 0 it also fools other networks.
        steps: Number of steps for each constant, one gradient each.
        binary_search_steps: Number of constants tried.
        step_size: Adam's learning rate, in tanh space. Black and white pixels lie 7 from gray there, where a step
            moves them least: with a hundred steps, 0.1.
        initial_constant: The first c; times 10 until it is enough, then halfway between too small and enough.
        objective: The margin that is raised; by default the network's.
        name: What tables and figures call it; by default the class name and what another objective adds to it.

    References:
        Carlini and Wagner 2017, Sections V.A (f_6), V.B (tanh) and VI.A; Dubey et al. 2019, Appendix A; the released
        code of Guo et al. 2018 for ``paper``.

    Differences from the paper:
        1,000 steps, a tenth of the authors' code, which gives the batch up when its loss no longer falls; here no
        image ends early. The constant that was enough is not tried once more at the end.
    """

    def __init__(
        self,
        *,
        mode: Mode = "min_norm",
        confidence: float = 0.0,
        steps: int = 1000,
        binary_search_steps: int = 9,
        step_size: float = 0.01,
        initial_constant: float = 1e-3,
        objective: Objective | None = None,
        name: str = "",
    ) -> None:
        super().__init__(objective=objective or Margin(), name=name or ("" if objective else type(self).__name__))
        if mode not in ("min_norm", "paper"):
            raise UserError(f"mode: {mode!r} of {self.name} is unknown; min_norm and paper are accepted")
        if not (steps >= 1 and binary_search_steps >= 1 and step_size > 0 and initial_constant > 0 and confidence >= 0):
            raise UserError(
                f"{self.name} has steps: {steps}, binary_search_steps: {binary_search_steps}, step_size: {step_size}, "
                f"initial_constant: {initial_constant}, confidence: {confidence}; "
                "all must be above 0, confidence may be 0"
            )
        if not self.objective.signed:
            raise UserError(
                f"{self.name} needs an objective that is above 0 where the answer is wrong, which "
                f"{type(self.objective).__name__} is not; Margin, DefenseMargin and TargetedDLR are accepted"
            )
        self.mode: Mode = mode
        self.confidence = confidence
        self.steps, self.binary_search_steps = steps, binary_search_steps
        self.step_size, self.initial_constant = step_size, initial_constant

    def prepare(self, attacked: AttackTarget, objective: Score) -> Perturb:
        """Do the whole search."""
        image, found = attacked.image, self._smallest(attacked, objective)
        unit = direction(found - image, "l2")

        def perturb(radius: Tensor, randomness: Randomness) -> Tensor:
            del randomness
            if self.mode == "paper":
                return image + column(radius) * unit
            return project(found, image, radius)

        return perturb

    def _smallest(self, attacked: AttackTarget, objective: Score) -> Tensor:
        """Return each image with the smallest perturbation that is enough, or else the one with the highest margin."""
        found = attacked.image
        with torch.no_grad():
            highest = objective(found)  # (N,)
        attacked.require_finite(highest, f"the objective of {self.name}")
        shortest = torch.zeros_like(highest).masked_fill(highest <= self.confidence, torch.inf)
        constant = torch.full_like(highest, self.initial_constant)
        too_small, enough = torch.zeros_like(highest), torch.full_like(highest, torch.inf)
        for _ in range(self.binary_search_steps):
            reached = torch.zeros_like(highest, dtype=torch.bool)
            for adversarial, margin in self._descend(attacked, objective, constant):
                success = margin > self.confidence
                length = norm(adversarial - attacked.image)
                better = torch.where(success, length < shortest, shortest.isinf() & (margin > highest))
                found = torch.where(column(better), adversarial, found)
                shortest = torch.where(success & better, length, shortest)
                highest = torch.where(better, margin, highest)
                reached |= success
            enough = torch.where(reached, constant, enough)
            too_small = torch.where(reached, too_small, constant)
            constant = torch.where(enough.isinf(), 10 * constant, (too_small + enough) / 2)
        return found

    def _descend(self, attacked: AttackTarget, objective: Score, constant: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images ``(N, 3, H, W)`` and margins ``(N,)`` of one run of Adam, which starts afresh."""
        w = torch.atanh(INSIDE * (2 * attacked.image - 1))
        origin = _pixels(w)
        adam = torch.optim.Adam([w], lr=self.step_size)  # works on each element alone, so on each image alone
        for _ in range(self.steps):
            adversarial = _pixels(w)
            margin, ascent = gradient(attacked, objective, adversarial)
            yield adversarial, margin
            push = column(torch.where(margin > self.confidence, 0, constant))
            slope = 2 * (adversarial - origin) - push * ascent
            w.grad = slope * 2 * adversarial * (1 - adversarial)  # the chain rule: dx/dw = 2x(1 − x)
            adam.step()


def _pixels(w: Tensor) -> Tensor:
    return (torch.tanh(w) + 1) / 2
