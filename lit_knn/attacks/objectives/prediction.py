"""PGD-PR: the loss of the image and of its neighbors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from lit_knn.attacks.objectives.base import Score
from lit_knn.attacks.objectives.defense import StandIn
from lit_knn.attacks.objectives.soft_knn import SoftKNN
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget

Reading = Literal["literal", "shared_delta", "grad_x", "retrieval"]


class NeighborPrediction(StandIn):
    """Raise the network's loss of the image plus γ times its loss of the K neighbors of the clean image.

    The paper prints the gradient ``∇_x L(h(x), y) + γ Σ_k ∇_{x'} L(h(x'_k), y)`` and adds it to the query, although
    the second term is taken at other images, which do not move. The readings:

    - ``literal``, as printed: the second term is one constant direction Q for each query, computed once. It is what
      the loss of the neighbors would rise by, to first order, if they were perturbed as the query is.
    - ``shared_delta``: the same to every order, L(h(x'_k + x* − x), y), with the neighbors perturbed as the query is.
    - ``grad_x``: both terms with respect to the query. The neighbors do not depend on it, the second term is zero, and
      what remains is the cross-entropy, bit for bit.
    - ``retrieval``: the cross-entropy, and γ times an objective of which neighbors are found: `SoftKNN`.

    Neighbors that the network confidently takes for class y have almost no gradient, so Q comes from the others.

    Cost:
        For each gradient one forward and backward pass; K more for ``shared_delta``, one more and a search for
        ``retrieval``. At the start, for ``literal``, one search and K forward and backward passes.

    Args:
        reading: Which of the readings above.
        gamma: Weight γ, at least 0, of a neighbor's loss or of the soft-kNN margin.
        k: Number of neighbors; by default as many as the defense asks for.
        exclude_self: Whether to leave out a row that is the query itself.

    References:
        Dubey et al. 2019, Section 6.1, first equation (γ = 0.05, K = 50).
    """

    suffix = "PR"

    def __init__(
        self, *, reading: Reading = "literal", gamma: float = 0.05, k: int | None = None, exclude_self: bool = True
    ) -> None:
        if reading not in ("literal", "shared_delta", "grad_x", "retrieval"):
            raise UserError(
                f"NeighborPrediction has reading: {reading!r}; literal, shared_delta, grad_x and retrieval are accepted"
            )
        if gamma < 0 or (k is not None and k < 1):
            raise UserError(f"NeighborPrediction has gamma: {gamma}, k: {k}; from 0 and from 1 are accepted")
        self.reading, self.gamma, self.k, self.exclude_self = reading, gamma, k, exclude_self

    def rows(self, k: int) -> int:
        """Return how many: one more than neighbors, if one may be the image itself; none for ``grad_x``."""
        if self.reading in ("grad_x", "retrieval"):
            return k if self.reading == "retrieval" else 0
        return (self.k or k) + self.exclude_self

    def bind(self, attacked: AttackTarget, target: int = 0) -> Score:
        """Look for the neighbors of the clean images, and take their gradient if it stays the same."""
        del target
        if self.reading == "grad_x":
            return attacked.cross_entropy
        other = SoftKNN().bind(attacked) if self.reading == "retrieval" else self._neighbors(attacked)
        return lambda image: attacked.cross_entropy(image) + self.gamma * other(image)

    def choice(self, attacked: AttackTarget) -> Score:
        """Choose by the decision, or as the attack that ``grad_x`` is."""
        return attacked.cross_entropy if self.reading == "grad_x" else super().choice(attacked)

    def _neighbors(self, attacked: AttackTarget) -> Score:
        surrogate_defense, clean = attacked.defense, attacked.image
        ids = attacked.neighbors(self.k or surrogate_defense.k, exclude_self=self.exclude_self)  # (N, K)
        neighbors: Iterable[Tensor] = (surrogate_defense.images(ids[:, [k]], clean)[:, 0] for k in range(ids.shape[1]))
        if self.reading == "shared_delta":
            neighbors = list(neighbors)  # needed at each step; otherwise one (N, 3, H, W) at a time

        def linear_at(image: Tensor) -> Score:
            """Return the neighbors' loss if they were perturbed as the query is, to first order at ``image``."""
            total, ascent = torch.zeros_like(clean[:, 0, 0, 0]), torch.zeros_like(clean)
            for neighbor in neighbors:
                moved = (neighbor + image.detach() - clean).requires_grad_()
                with torch.enable_grad():
                    loss = attacked.cross_entropy(moved)  # (N,)
                    ascent += torch.autograd.grad(loss.sum(), moved)[0]
                total += loss.detach()
            origin = image.detach()
            return lambda image: total + (ascent * (image - origin)).flatten(1).sum(dim=1)

        return linear_at(clean) if self.reading == "literal" else lambda image: linear_at(image)(image)
