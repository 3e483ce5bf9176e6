"""The objective on the defense's own answer, and what objectives that stand in for it share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Objective, Score
from lit_knn.attacks.objectives.classifier import margin
from lit_knn.defenses import Defense
from lit_knn.defenses.searching import searching
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget

if TYPE_CHECKING:
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense


class DefenseMargin(Objective):
    """Raise the defense's best wrong score over the true one; above 0 exactly where it is wrong.

    Of a defense that rejects, no more than how far the answer is from being rejected: above 0 where it is wrong and
    accepted. It has no gradient for a defense that retrieves: take an attack that needs none, such as `Square`. For a
    defense that is a differentiable function of the image, or is wrapped in `lit_knn.defenses.BPDA`, any attack
    will do.

    Cost:
        One answer of the defense for each value: a forward pass, and a search where it retrieves; with a backward pass
        for a gradient.
    """

    suffix = "defense"
    adaptive = True
    signed = True
    answers = True

    def fits(self, copy: Defense, gradient: bool) -> bool:
        """Return whether the copy has what is wanted."""
        return bool(copy.differentiable) or not gradient

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the margin of each image, of a defense that rejects no more than that of being accepted."""
        del target

        def score(image: Tensor) -> Tensor:
            value = margin(attacked.scores(image), attacked.label)
            return value if attacked.acceptance is None else torch.minimum(value, attacked.acceptance)

        return score


class StandIn(Objective):
    """Replace the decision of a defense that retrieves, which has no gradient, by something that has one.

    Of a defense that searches a random part of the rows it looks at all of them, and so draws nothing.
    """

    adaptive = True
    drawn = False

    def fits(self, copy: Defense, gradient: bool) -> bool:
        """Return whether the copy is a kNN, at one tap or at several together, of all rows or a random part."""
        del gradient
        return searching(copy) is not None

    def rows(self, k: int) -> int:
        """Return how many rows are looked for around an image, where a retrieval asks for k neighbors; 0 for none."""
        return k

    def verify(self, attack: str, surrogate_defense: SurrogateDefense | None) -> None:
        """Refuse a database of fewer rows than are looked for, and a defense that looks for none."""
        if (
            surrogate_defense is not None
            and self.rows(1)
            and self.rows(surrogate_defense.k) > len(surrogate_defense.gallery)
        ):
            raise UserError(
                f"{attack} looks for {self.rows(surrogate_defense.k)} rows around an image, but the attacker's "
                f"database has {len(surrogate_defense.gallery)}: raise rows of WhiteBox, or lower k of the objective "
                "or the defense; one row is for the image itself where exclude_self is true"
            )

    def choice(self, attacked: AttackTarget) -> Score:
        """Choose by the decision itself."""
        return DefenseMargin().bind(attacked)
