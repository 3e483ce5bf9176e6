"""MALT: the wrong classes that a linear network would reach first."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives.dlr import TargetedDLR
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget


class MALT(TargetedDLR):
    """Raise the same ratio as `TargetedDLR`, of the classes whose boundary is nearest if the logits are linear.

    That distance is (z_y − z_t) / ‖∇(z_y − z_t)‖ at the clean image. A class with a low logit may be the nearest one,
    if its logit is steep.

    Cost:
        One forward and backward pass for each gradient, and another forward pass at the end, all once for each of
        ``targets``; one forward pass and ``candidates`` backward passes at the start.

    Args:
        targets: Number of wrong classes tried one after the other, the nearest first.
        candidates: Number of wrong classes whose distance is taken, those with the highest clean logits; at least 1.

    References:
        Melamed et al. 2024, "MALT powers up adversarial attacks", arXiv:2407.02240, Section 3, which tries 9 of 100
        candidates with APGD; the norm is the dual one of the budget's: L2 of L2, L1 of L∞.

    Differences from the paper:
        A class whose gradient is zero comes last; in the authors' code it comes first.
    """

    suffix = "MALT"

    def __init__(self, *, targets: int = 9, candidates: int = 100) -> None:
        super().__init__(targets=targets)
        if candidates < 1:
            raise UserError(f"MALT has candidates: {candidates}; 1 or more are accepted")
        self.candidates = candidates

    def ranked(self, attacked: AttackTarget) -> Tensor:
        """Return the candidates, the nearest first: ``(N, n)`` int64, n < C."""
        with torch.enable_grad():
            image = attacked.image.detach().requires_grad_()
            logits = attacked.logits(image)  # (N, C)
            likely = self.highest_wrong(attacked, logits.detach())[:, : self.candidates]  # (N, n)
            if not logits.requires_grad:
                return likely  # the attack says that there is no gradient
            gaps = logits.gather(1, attacked.label[:, None]) - logits.gather(1, likely)  # (N, n)
            slopes = [
                attacked.norm.dual(torch.autograd.grad(gap.sum(), image, retain_graph=True, materialize_grads=True)[0])
                for gap in gaps.unbind(dim=1)
            ]
        distance = gaps.detach() / torch.stack(slopes, dim=1)
        return likely.gather(1, distance.nan_to_num(torch.inf).argsort(dim=1, stable=True))
