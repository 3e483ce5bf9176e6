"""PGD-FS: away from the neighbors, in the space where they are looked for."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Score, with_gradient
from lit_knn.attacks.objectives.defense import StandIn
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget

Reading = Literal["grad_x", "literal", "literal_negated"]


class FeatureSpace(StandIn):
    """Flee the neighbors of the clean image: raise Σ_k ‖g(x) − g(x'_k)‖² over its K neighbors x'_k.

    The paper prints its gradient as ``Σ_k ∇_{x'} ‖g(x') − g(x)‖²``, with respect to the *neighbors*, and adds it to
    the query. The readings:

    - ``grad_x``, what must have been meant: the gradient with respect to the query. It works. As
      ``Σ_k ‖g − g_k‖² = K ‖g − ḡ‖² + const``, only the mean ḡ of the stored features is needed, and no forward pass of
      a neighbor.
    - ``literal``, as printed. With the network's Jacobian J at the neighbor, ``∇_{x'} = 2 J(x')ᵀ (g(x') − g(x))``
      points from the query *to* the neighbor. Where g is linear it is exactly the negative of ``grad_x``, and climbing
      it brings the query home to its neighbors; for a deep network, whose J differs from image to image, it is close
      to noise. It does not attack.
    - ``literal_negated``: the sign put right, still with the neighbors' Jacobians.

    The clean image lies amid its neighbors, where this has little gradient: attacks start at random.

    Cost:
        ``grad_x``: one forward and backward pass up to the tap for each gradient. ``literal``, ``literal_negated``: K
        of them and one more forward, and K images of the database in memory. One search at the start.

    Args:
        reading: Which of the readings above.
        k: Number of neighbors; by default as many as the defense asks for.
        exclude_self: Whether to leave out a row that is the query itself, from which there is no direction away.

    References:
        Dubey et al. 2019, Section 6.1, second equation.
    """

    suffix = "FS"
    flat_at_image = True

    def __init__(self, *, reading: Reading = "grad_x", k: int | None = None, exclude_self: bool = True) -> None:
        if reading not in ("grad_x", "literal", "literal_negated"):
            raise UserError(f"FeatureSpace has reading: {reading!r}; grad_x, literal and literal_negated are accepted")
        if k is not None and k < 1:
            raise UserError(f"FeatureSpace has k: {k}; 1 or more are accepted")
        self.reading, self.k, self.exclude_self = reading, k, exclude_self

    def rows(self, k: int) -> int:
        """Return how many: one more than neighbors, if one may be the image itself."""
        return (self.k or k) + self.exclude_self

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Look for the neighbors of the clean images."""
        del target
        surrogate_defense = attacked.defense
        ids = attacked.neighbors(self.k or surrogate_defense.k, exclude_self=self.exclude_self)  # (N, K)
        if self.reading == "grad_x":
            return _away_from(attacked, surrogate_defense.vectors(ids, attacked.image))
        sign = 1 if self.reading == "literal" else -1
        return _along_the_neighbors(attacked, surrogate_defense.images(ids, attacked.image), sign)


def _away_from(attacked: AttackTarget, neighbors: Tensor) -> Score:
    """Return the sum of squared distances to features ``(N, K, D)``."""
    mean = neighbors.mean(dim=1)  # (N, D)
    spread = (neighbors - mean[:, None]).square().sum(dim=(1, 2))  # (N,)

    def score(image: Tensor) -> Tensor:
        return neighbors.shape[1] * (attacked.features(image) - mean).square().sum(dim=1) + spread

    return score


def _along_the_neighbors(attacked: AttackTarget, neighbors: Tensor, sign: int) -> Score:
    """Return the same for images ``(N, K, 3, H, W)``, with the gradient at them; one pass each, so K for a step."""

    def score(image: Tensor) -> Tensor:
        with torch.no_grad():
            query = attacked.features(image)  # (N, D)
        total, ascent = torch.zeros_like(query[:, 0]), torch.zeros_like(image)
        for neighbor in neighbors.unbind(1):  # (N, 3, H, W)
            with torch.enable_grad():
                moved = neighbor.detach().requires_grad_()
                distance = (attacked.features(moved) - query).square().sum(dim=1)  # (N,)
                ascent += torch.autograd.grad(distance.sum(), moved)[0]
            total += distance.detach()
        return sign * with_gradient(total, image, ascent)

    return score
