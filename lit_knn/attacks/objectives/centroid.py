"""Towards a wrong class, in the space where neighbors are looked for."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Score
from lit_knn.attacks.objectives.defense import StandIn
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget


class TargetCentroid(StandIn):
    """Approach the mean of the m nearest rows of a wrong class: the negative squared distance to it.

    The m rows are looked up again at each step, around the image as it is then.

    Cost:
        One forward and backward pass up to the tap and the distances to the class exemplars for each gradient, no
        search; all of it once for each of ``targets``.

    Args:
        targets: Number of wrong classes tried one after the other, the one nearest to the clean image first. Where the
            database has no row of a class, the nearest class is tried again.
        m: Number of rows; by default as many as vote in the defense.

    References:
        Sabour et al. 2016, Equation 1, where the target is the feature of one image.
    """

    suffix = "centroid"

    def __init__(self, *, targets: int = 5, m: int | None = None) -> None:
        if targets < 1 or (m is not None and m < 1):
            raise UserError(f"TargetCentroid has targets: {targets}, m: {m}; 1 or more are accepted")
        self.targets, self.m = targets, m

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Choose the wrong class by the clean images."""
        surrogate_defense = attacked.defense
        exemplars, m = surrogate_defense.exemplars, self.m or surrogate_defense.k
        with torch.no_grad():
            ranked = exemplars.wrong(
                attacked.features(attacked.image), attacked.label, self.targets, m
            )  # (N, ≤ targets)
        chosen = ranked[:, target % ranked.shape[1], None]  # (N, 1)
        there = exemplars.present.any(dim=1)[chosen]
        chosen = torch.where(there, chosen, ranked[:, :1])

        def score(image: Tensor) -> Tensor:
            features = attacked.features(image)  # (N, D)
            found = exemplars.nearest(features, chosen, m)
            share = found.present / found.present.sum(dim=2, keepdim=True)  # (N, 1, m)
            centroid = (found.vectors * share[..., None]).sum(dim=(1, 2))  # (N, D)
            return -(features - centroid).square().sum(dim=1)

        return score
