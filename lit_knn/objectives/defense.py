"""The objective on the defense's own answer, and what objectives that stand in for it share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lit_knn.errors import UserError
from lit_knn.objectives.base import Objective, Score
from lit_knn.objectives.classifier import margin
from lit_knn.victim import Victim

if TYPE_CHECKING:
    from lit_knn.replica import Replica


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

    def rows(self, k: int) -> int:
        """Return how many rows are looked for around an image, where a retrieval asks for k neighbors; 0 for none."""
        return k

    def verify(self, attack: str, replica: Replica | None, num_classes: int) -> None:
        """Refuse a database of fewer rows than are looked for, and a defense that looks for none."""
        if replica is not None and self.rows(1) and self.rows(replica.k) > len(replica.gallery):
            raise UserError(
                f"{attack} looks for {self.rows(replica.k)} rows around an image, but the attacker's database has "
                f"{len(replica.gallery)}: raise rows of WhiteBox, or lower k of the objective or the defense; one row is "
                "for the image itself where exclude_self is true"
            )

    def choice(self, victim: Victim) -> Score:
        """Choose by the decision itself."""
        return DefenseMargin().bind(victim)
