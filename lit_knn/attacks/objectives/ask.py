"""ASK: the loss of a soft vote between the neighbors of each class."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_knn.attacks.objectives.base import Score
from lit_knn.attacks.objectives.defense import StandIn
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget


class ASK(StandIn):
    """Raise the cross-entropy of a soft vote, in which a class scores the mean similarity of its k nearest rows.

    The rows are those near the clean image; they do not change with the perturbed one.

    Cost:
        One forward and backward pass up to the tap for each gradient, and no search; at the start one forward pass and
        the distances to the class exemplars.

    Args:
        k: Number of rows of each class; by default as many as vote in the defense.
        temperature: Temperature T, above 0, by which similarities are divided.
        classes: Number of classes that take part, at least 2: the true one and the wrong ones whose rows are nearest.
        similarity: ``l2`` for the negative distance, ``cosine`` for the cosine of the angle.

    References:
        Wang et al. 2022, "ASK: Adversarial soft k-nearest neighbor attack and defense", arXiv:2106.14300; in the
        authors' code, the class-wise loss.

    Differences from the paper:
        Distances are divided by their mean over the rows of the clean image, so that T has no unit. Not all classes
        take part, only the nearest. The budget is Δ, as for all attacks here.
    """

    suffix = "ASK"

    def __init__(
        self,
        *,
        k: int | None = None,
        temperature: float = 0.1,
        classes: int = 10,
        similarity: Literal["l2", "cosine"] = "l2",
    ) -> None:
        if (k is not None and k < 1) or temperature <= 0 or classes < 2:
            raise UserError(
                f"ASK has k: {k}, temperature: {temperature}, classes: {classes}; "
                "from 1, above 0 and from 2 are accepted"
            )
        if similarity not in ("l2", "cosine"):
            raise UserError(f"ASK has similarity: {similarity!r}; l2 and cosine are accepted")
        self.k, self.temperature, self.classes, self.similarity = k, temperature, classes, similarity

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Look for the rows of each class next to the clean images."""
        del target
        surrogate_defense = attacked.defense
        k = self.k or surrogate_defense.k
        with torch.no_grad():
            clean = attacked.features(attacked.image)  # (N, D)
            around = surrogate_defense.exemplars.around(clean)
            wrong = around.wrong(attacked.label, self.classes - 1, k)  # (N, G − 1)
            found = around.nearest(torch.cat([attacked.label[:, None], wrong], dim=1), k)
            scale = _mean(_distance(clean, found.vectors), found.present, (1, 2))[:, None, None]  # (N, 1, 1)

        def score(image: Tensor) -> Tensor:
            features = attacked.features(image)  # (N, D)
            if self.similarity == "l2":
                similarity = -_distance(features, found.vectors) / scale  # (N, G, k)
            else:
                similarity = F.cosine_similarity(features[:, None, None], found.vectors, dim=3)
            scores = _mean(similarity, found.present, (2,)) / self.temperature  # (N, G); 0 for a class without rows
            voting = scores.masked_fill(~found.present.any(dim=2), -torch.inf)
            return voting.logsumexp(dim=1) - scores[:, 0]

        return score


def _distance(features: Tensor, vectors: Tensor) -> Tensor:
    """Return distances ``(N, G, k)`` of ``(N, D)`` to ``(N, G, k, D)``."""
    length: Tensor = torch.linalg.vector_norm(features[:, None, None] - vectors, dim=3)  # its gradient at 0 is 0
    return length


def _mean(values: Tensor, present: Tensor, dim: tuple[int, ...]) -> Tensor:
    return (values * present).sum(dim) / present.sum(dim).clamp_min(1)
