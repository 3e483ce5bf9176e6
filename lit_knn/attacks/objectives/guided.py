"""Sitawarin and Wagner's attack on nearest neighbors: exemplars of a wrong class in, those of the true class out."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Score
from lit_knn.attacks.objectives.defense import StandIn
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget

LEAD = 1e-5  # by which a guide has to be on its side of the border, as a share of it


class GuidedNeighbors(StandIn):
    """How far exemplars of the true class are within the distance η of the K-th neighbor, and those of a wrong one beyond.

    ``−Σ_true relu(η − d²) − Σ_wrong relu(d² − η)``, 0 once all are where they should be. Border and exemplars, the
    nearest rows of either class, are those of the image as it is now, and have no gradient; the wrong class is
    the one whose exemplars are nearest on average.

    Args:
        m: How many exemplars, half of each class; by default 2 K, enough to replace all K neighbors.

    References:
        Sitawarin and Wagner 2020, "Minimum-norm adversarial examples on kNN and kNN-based models", arXiv:2003.06559.
    Differences from the paper:
        A given budget instead of the smallest norm: no ‖x* − x‖² in the objective, and so no search for its weight,
        and a constant m. ClassExemplars are looked up again at each step instead of each hundredth. The lead of 10⁻⁵ is relative
        to η. Classes are those that rows vote for, not their labels.
    """

    suffix = "S&W"
    highest = 0.0

    def __init__(self, *, m: int | None = None) -> None:
        if m is not None and m < 2:
            raise UserError(f"GuidedNeighbors has m: {m}; 2 or more are accepted")
        self.m = m

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Return the objective of each image; everything depends on the changed ones."""
        del target
        surrogate_defense = attacked.defense
        each = surrogate_defense.k if self.m is None else self.m // 2
        sign = torch.tensor([1.0, -1.0], device=attacked.image.device)[:, None]  # of the true and the wrong class

        def score(image: Tensor) -> Tensor:
            features = surrogate_defense.features(image)  # (N, D)
            around = surrogate_defense.exemplars.around(features)
            wrong = around.wrong(attacked.label, 1, each)  # (N, 1)
            exemplars = around.nearest(torch.cat([attacked.label[:, None], wrong], dim=1), each)
            with torch.no_grad():
                nearest = surrogate_defense.vectors(
                    surrogate_defense.nearest(features, surrogate_defense.k), features
                )  # (N, K, D)
                border = (features[:, None] - nearest).square().sum(dim=2).amax(dim=1)[:, None, None]  # (N, 1, 1)
            squared = (features[:, None, None] - exemplars.vectors).square().sum(dim=3)  # (N, 2, m/2)
            lag = torch.relu(sign * (border - squared) + LEAD * border)
            return -(lag * exemplars.present).sum(dim=(1, 2))

        return score
