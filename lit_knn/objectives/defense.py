"""The objective on the defense's own answer, and what objectives that stand in for it share."""

from __future__ import annotations

from lit_knn.objectives.base import Objective, Score
from lit_knn.objectives.classifier import margin
from lit_knn.victim import Victim


class DefenseMargin(Objective):
    """The defense's best wrong score less its true one: above 0 exactly where the defense is wrong.

    A retrieval defense has no gradient of it, so that only attacks without gradients can climb it; for a defense that
    is a differentiable function of the image (or is wrapped in :class:`lit_knn.defenses.BPDA`) all can.
    """

    suffix = "defense"
    aware = True
    signed = True

    def bind(self, victim: Victim, target: int = 0) -> Score:
        """Return the margin of each image."""
        del target
        return lambda image: margin(victim.defense.scores(image), victim.label)


class StandIn(Objective):
    """An objective with gradients in place of a retrieval's decision, which has none."""

    aware = True

    def choice(self, victim: Victim) -> Score:
        """Choose by the decision itself."""
        return DefenseMargin().bind(victim)
