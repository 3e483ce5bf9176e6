"""Random noise of the same size: the floor that every attack must be far below."""

from __future__ import annotations

from lit_knn.attacks.base import Attack, Perturb
from lit_knn.attacks.objectives import Objective, Score
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import L2, LINF, column


class RandomNoise(Attack):
    """Add a random perturbation of size Δ, uniform on the surface of the ball, and clip it to [0, 1].

    Cost:
        No pass of the network; with ``restarts`` one forward pass for each Δ and run.

    Args:
        objective: What chooses between several restarts; by default the cross-entropy.
        restarts: Perturbations tried; the one with the highest objective is kept for each image.
        seed: Seed of the perturbations, together with the image's id and the restart.
        name: What tables and figures call it; by default the class name.
    """

    gradient_free = True
    norms = (L2, LINF)

    def __init__(self, *, objective: Objective | None = None, restarts: int = 1, seed: int = 0, name: str = "") -> None:
        super().__init__(objective=objective, restarts=restarts, seed=seed, name=name)

    def prepare(self, attacked: AttackTarget, objective: Score, randomness: Randomness) -> Perturb:
        """Draw the perturbation."""
        del objective
        unit = attacked.norm.surface(randomness, attacked.image)
        return lambda radius: attacked.image + column(radius) * unit
