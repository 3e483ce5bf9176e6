"""Carlini and Wagner's L2 attack: search once for the smallest perturbation that succeeds, and use it for every Δ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.gradient import gradient
from lit_knn.attacks.minimum_norm import Smallest, require_signed
from lit_knn.attacks.objectives import Margin, Objective, Score
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import column

Mode = Literal["min_norm", "paper"]

INSIDE = 1 - 1e-6  # black and white lie at infinity in tanh space: start just before them


class CWL2(Attack):
    """Find the smallest perturbation that fools the model: Adam on ‖x' − x‖² + c · max(0, κ − margin(x')).

    A binary search finds the smallest constant c that succeeds, for each image on its own. Images are optimized as
    x = (tanh w + 1) / 2, so that nothing is ever clipped. Of all steps of all constants, the smallest perturbation
    whose margin is above κ is kept; where there is none, the step with the highest margin. An image that is
    misclassified from the start is left as it is.

    What was found is used for every Δ, in one of two ways:

    - ``min_norm`` shortens it to Δ where it is longer. The accuracy at Δ is then the share of images that need a larger
      perturbation, or less where a shortened one happens to succeed as well.
    - ``paper`` stretches or shortens it to exactly Δ. Guo et al. multiply all perturbations by one number, so that Δ is
      met on average; here each image has a factor of its own.

    Cost:
        ``binary_search_steps · steps`` forward and backward passes and one more forward, for all Δ together.

    Args:
        mode: How the perturbation found is brought to each Δ, ``min_norm`` or ``paper``.
        confidence: Margin κ that counts as success, at least 0, in units of the objective; above 0 the result is more
            likely to fool other networks as well.
        steps: Number of Adam's steps for each constant.
        binary_search_steps: Number of constants tried.
        step_size: Adam's learning rate, in units of w. Black and white pixels lie 7 from gray there and move least:
            with a hundred steps take 0.1.
        initial_constant: The first c, above 0; it grows tenfold until it succeeds, then the search halves the interval.
        objective: The margin that is raised, above 0 for a wrong answer; by default the network's.
        name: Name in tables and figures; by default the class name and the suffix of another objective.

    References:
        Carlini and Wagner 2017, Sections V.A (f_6), V.B (tanh) and VI.A; Dubey et al. 2019, Appendix A; the released
        code of Guo et al. 2018 for ``paper``.

    Differences from the paper:
        1,000 steps, a tenth of the authors' code, which gives the batch up when its loss no longer falls; here no
        image ends early. The constant that was enough is not tried once more at the end.
    """

    one_search = True

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
        require_signed(self.name, self.objective)
        self.mode: Mode = mode
        self.confidence = confidence
        self.steps, self.binary_search_steps = steps, binary_search_steps
        self.step_size, self.initial_constant = step_size, initial_constant

    @property
    def run_passes(self) -> int:
        """Those of all steps for all constants."""
        return 2 * self.steps * self.binary_search_steps

    def prepare(self, attacked: AttackTarget, objective: Score, randomness: Randomness) -> Perturb:
        """Do the whole search."""
        del randomness
        image, found = attacked.image, self._smallest(attacked, objective)
        unit = attacked.norm.direction(found - image)

        def perturb(radius: Tensor) -> Tensor:
            if self.mode == "paper":
                return image + column(radius) * unit
            return attacked.norm.project(found, image, radius)

        return perturb

    def _smallest(self, attacked: AttackTarget, objective: Score) -> Tensor:
        """Return each image with the smallest perturbation that is enough, or else the one with the highest margin."""
        with torch.no_grad():
            margin = objective(attacked.image)  # (N,)
        attacked.note_finite(margin, f"the objective of {self.name}")
        attacked.require_finite()  # before all steps are taken
        smallest = Smallest(attacked.image, self.confidence, attacked.norm)
        smallest.look(attacked.image, margin)
        constant = torch.full_like(margin, self.initial_constant)
        too_small, enough = torch.zeros_like(margin), torch.full_like(margin, torch.inf)
        for _ in range(self.binary_search_steps):
            reached = torch.zeros_like(margin, dtype=torch.bool)
            for adversarial, margin in self._descend(attacked, objective, constant):
                reached |= smallest.look(adversarial, margin)
            enough = torch.where(reached, constant, enough)
            too_small = torch.where(reached, too_small, constant)
            constant = torch.where(enough.isinf(), 10 * constant, (too_small + enough) / 2)
        return smallest.found

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
