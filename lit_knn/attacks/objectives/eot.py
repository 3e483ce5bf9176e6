"""Expectation over transformation: against a defense that answers at random, climb what it answers on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Objective, Score, with_gradient
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget

if TYPE_CHECKING:
    from lit_knn.defenses import Defense
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense

FEWEST = 10  # evaluations before a candidate is chosen: with fewer, the luckiest draw wins, not the best image


class EOT(Objective):
    """Average another objective over the draws of a randomized model or defense.

    Cost:
        ``draws`` times the passes of the averaged objective for each gradient, in the memory of one; ``evaluations``
        times those of a value for each candidate that is chosen from. Once those of what does not draw.

    Args:
        objective: What is averaged.
        draws: Random draws behind each value and gradient; a defense that averages several takes them together.
        evaluations: Fresh draws behind each candidate before one is chosen, 10 or more.

    References:
        Athalye et al. 2018a, Section 3 (EOT); Athalye et al. 2018b, Section 4.2, for randomized defenses.
    """

    def __init__(self, *, objective: Objective, draws: int = 10, evaluations: int = 20) -> None:
        if draws < 1 or evaluations < FEWEST:
            raise UserError(
                f"EOT has draws: {draws}, evaluations: {evaluations}; "
                f"draws from 1 and evaluations from {FEWEST} are accepted"
            )
        self.objective, self.draws, self.evaluations = objective, draws, evaluations
        self.suffix = f"EOT-{objective.suffix}".removesuffix("-")
        self.adaptive, self.signed, self.targets = objective.adaptive, objective.signed, objective.targets
        self.highest, self.flat_at_image = objective.highest, objective.flat_at_image
        self.answers = objective.answers

    def fits(self, copy: Defense, gradient: bool) -> bool:
        """Return whether the averaged objective fits."""
        return self.objective.fits(copy, gradient)

    def verify(self, attack: str, surrogate_defense: SurrogateDefense | None) -> None:
        """Refuse what the averaged objective does."""
        self.objective.verify(attack, surrogate_defense)

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the mean over ``draws``."""
        times = self._answers(attacked, self.draws, drawn=self.objective.drawn)
        return _mean(self.objective.bind(attacked, target), times)

    def choice(self, attacked: AttackTarget) -> Score:
        """Return the mean of what the averaged objective chooses by, over ``evaluations``."""
        return _mean(self.objective.choice(attacked), self._answers(attacked, self.evaluations, drawn=True))

    def _answers(self, attacked: AttackTarget, draws: int, *, drawn: bool) -> int:
        if not self.adaptive:
            return draws
        return attacked.defense.evaluations(draws) if drawn or attacked.defense.classifier.randomized else 1


def expected(objective: Objective, attacked: AttackTarget) -> Objective:
    """Return an objective by whose values images can be compared: the mean over draws of what answers at random.

    Of single draws the luckiest would win, and not the best image.
    """
    return EOT(objective=objective) if attacked.random and not isinstance(objective, EOT) else objective


def _mean(score: Score, draws: int) -> Score:
    """Return a score's mean, whose gradient is taken draw by draw, so that only one graph is held at a time."""

    def mean(image: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and image.requires_grad):
            return torch.stack([score(image) for _ in range(draws)]).mean(dim=0)
        value, ascent = torch.zeros_like(image[:, 0, 0, 0]), torch.zeros_like(image)
        for _ in range(draws):
            point = image.detach().requires_grad_()
            drawn = score(point)  # (N,)
            if not drawn.requires_grad:
                return drawn  # which tells the attack that there is no gradient to follow
            ascent += torch.autograd.grad(drawn.sum(), point)[0] / draws
            value += drawn.detach() / draws
        return with_gradient(value, image, ascent)

    return mean
