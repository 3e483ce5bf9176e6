"""The images of a batch that an attack still works on: what is broken already costs nothing more."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Bound
from lit_knn.attacks.objectives.classifier import margin
from lit_knn.threat_models.attack_target import AttackTarget


class Remaining:
    """Those images of a batch that are not settled; more of them leave it as answers to them become wrong.

    What is left is computed as a batch of its own, with the random numbers that each image has in any batch.

    Args:
        attacked: The batch.
        objective: What is climbed.
        enough: By how much the best wrong score of an answer has to be above the true one for an image to leave; by
            None no image does, nor does any where the answers are not those that count, or are drawn at random, see
            `AttackTarget`.

    Attributes:
        attacked: What is left of the batch.
        objective: The same of what is left.
        rows: ``(n,)`` int64, where in the batch that lies.
    """

    def __init__(self, attacked: AttackTarget, objective: Bound, enough: float | None) -> None:
        self.attacked, self.objective = attacked, objective
        self._enough = None if attacked.transfer or attacked.random else enough
        self._found, self.rows = attacked.image, torch.arange(len(attacked.image), device=attacked.image.device)
        if attacked.settled is not None and attacked.settled.any():
            self._keep(~attacked.settled)

    def __len__(self) -> int:
        """Return how many are left."""
        return len(self.rows)

    @property
    def image(self) -> Tensor:
        """The clean images of what is left, ``(n, 3, H, W)``."""
        return self.attacked.image

    def of(self, values: Tensor) -> Tensor:
        """Return what is left of values of the whole batch, ``(N, ...)``."""
        return values if len(self) == len(values) else values[self.rows]

    def broken(self) -> Tensor | bool:
        """Return whether all last answers to each image are wrong by enough, ``(n,)``; False where none ever leaves."""
        if self._enough is None:
            return False
        with torch.no_grad():
            margins = torch.stack([margin(scores, self.attacked.label) for scores in self.attacked.answer()])  # (V, n)
        return margins.amin(dim=0) > self._enough

    def narrow(self, answered: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Let go of the images that the last answer breaks, and return what is left of a state.

        Args:
            answered: ``(n, 3, H, W)``, the images of that answer.
            state: What the attack knows of each image, each ``(n, ...)``.
        """
        broken = self.broken()
        if isinstance(broken, bool) or not broken.any():
            return state
        self._found = self.whole(answered)
        self._keep(~broken)
        return tuple(part[~broken] for part in state)

    def value(self, image: Tensor, what: str) -> Tensor:
        """Return what decides between images ``(N, 3, H, W)`` of several runs, ``(N,)``; ``what`` names it.

        That is the objective, but ∞ of those that the answer breaks, which nothing can better, whatever the objective
        says of them: images that are not broken may have a higher cross-entropy. It is −∞ of those that have left.
        """
        value = self.objective(self.of(image))
        self.attacked.note_finite(value, what)
        broken = self.broken()
        if not isinstance(broken, bool):
            value = value.masked_fill(broken, torch.inf)
        return value.new_full((len(image),), -torch.inf).index_copy(0, self.rows, value)

    def whole(self, image: Tensor) -> Tensor:
        """Return the whole batch ``(N, 3, H, W)``: what is left as given, the others as they left."""
        return self._found.index_copy(0, self.rows, image)

    def _keep(self, chosen: Tensor) -> None:
        self.rows = self.rows[chosen]
        self.attacked = self.attacked.among(chosen)
        self.objective = self.objective.on(self.attacked)
