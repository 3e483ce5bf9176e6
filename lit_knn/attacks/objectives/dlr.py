"""The targeted difference of logits ratio of AutoAttack."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Objective, Score
from lit_knn.attacks.objectives.classifier import Margin, without_true
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget


class TargetedDLR(Objective):
    """Raise one wrong logit over the true one, in units of the logits' spread, which no confidence makes vanish.

    Cost:
        One forward and backward pass for each gradient, and another forward pass at the end, all once for each of
        ``targets``; one forward pass at the start.

    Args:
        targets: Number of wrong classes tried one after the other, those with the highest clean logits first. Where a
            network has fewer, the first ones are tried again from another random start.

    References:
        Croce and Hein 2020, Section 4, the targeted version of the DLR loss, and Section 5 for its 9 targets.

    Differences from the paper:
        Its ratio compares the four largest logits. Of three classes it is taken in units of the first over the third,
        as in their DLR loss without target; of two there is no spread, and it is the gap of the two logits itself.
    """

    suffix = "DLR-T"
    signed = True
    answers = True

    def __init__(self, *, targets: int = 9) -> None:
        if targets < 1:
            raise UserError(f"{type(self).__name__} has targets: {targets}; 1 or more are accepted")
        self.targets = targets

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the ratio of each image for one of its wrong classes."""
        ranked = attacked.once(self, lambda: self.ranked(attacked))
        aim = ranked[:, target % ranked.shape[1]]
        return lambda image: targeted_ratio(attacked.logits(image), attacked.label, aim)

    def ranked(self, attacked: AttackTarget) -> Tensor:
        """Return wrong classes of the clean images, the most promising first: ``(N, n)`` int64, n < C."""
        with torch.no_grad():
            clean = attacked.logits(attacked.image)  # (N, C)
        return self.highest_wrong(attacked, clean)

    def highest_wrong(self, attacked: AttackTarget, clean: Tensor) -> Tensor:
        """Return the wrong classes by logits ``(N, C)``: ``(N, C − 1)`` int64, the highest first."""
        return without_true(clean, attacked.label).argsort(dim=1, descending=True, stable=True)[:, :-1]

    def choice(self, attacked: AttackTarget) -> Score:
        """Return the network's margin, which says of any target whether the network is wrong."""
        return Margin().bind(attacked)


def targeted_ratio(logits: Tensor, label: Tensor, target: Tensor) -> Tensor:
    """Return ``(z_t − z_y) / (z_π1 − (z_π3 + z_π4) / 2)``, ``(N,)``, π sorting the logits in falling order.

    Of three classes it is ``(z_t − z_y) / (z_π1 − z_π3)``, of two ``z_t − z_y``.

    Args:
        logits: ``(N, C)`` float, C ≥ 2.
        label: ``(N,)`` int64, y.
        target: ``(N,)`` int64, t.
    """
    first, _, *behind = logits.topk(min(4, logits.shape[1]), dim=1).values.unbind(dim=1)
    true, aimed = (logits.gather(1, index[:, None])[:, 0] for index in (label, target))
    if not behind:
        return aimed - true
    return (aimed - true) / (first - sum(behind) / len(behind) + 1e-12)  # the authors' constant
