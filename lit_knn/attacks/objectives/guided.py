"""Sitawarin and Wagner's objective on nearest neighbors: rows of a wrong class in, those of the true class out."""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Score
from lit_knn.attacks.objectives.defense import StandIn
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget

LEAD = 1e-5  # by which an exemplar has to be on its side of the border, as a share of it


class GuidedNeighbors(StandIn):
    """Pull rows of a wrong class among the K neighbors, and push those of the true class out.

    The objective is ``−Σ_true relu(η − d²) − Σ_wrong relu(d² − η)``, summed over the m/2 nearest rows (exemplars) of
    each class, where d is the distance to such a row and η the squared distance of the K-th neighbor. It is 0 once all
    exemplars are on the right side of that border. Border and exemplars are looked up at each step, and have no
    gradient. The wrong class is the one whose exemplars are nearest on average.

    Cost:
        One forward and backward pass up to the tap, one search for K rows and the distances to the class exemplars for
        each gradient.

    Args:
        m: Number of exemplars, half of each class, at least 2; by default 2 K, enough to replace all K neighbors.

    References:
        Sitawarin and Wagner 2020, "Minimum-norm adversarial examples on kNN and kNN-based models", arXiv:2003.06559.

    Differences from the paper:
        The budget is given, and not the norm minimized: there is no ‖x* − x‖² in the objective, no search for its
        weight, and m is constant. Exemplars are looked up at each step instead of at each hundredth. The lead of 10⁻⁵
        over the border is relative to η. Classes are those that rows vote for, not their labels.
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
            features = attacked.features(image)  # (N, D)
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
