"""The contract of every attack: a variant writes how to perturb, the base keeps it honest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from lit_knn.attacks.inputs import verify_inputs
from lit_knn.attacks.objectives import Bound, CrossEntropy, Objective, expected
from lit_knn.attacks.outputs import Attempt, clipped, require_budget
from lit_knn.attacks.remaining import Remaining
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.report.results.budgets import DEFAULT, NormName
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.budget import budget_in
from lit_knn.threat_models.norms import L2, Norm, column

if TYPE_CHECKING:
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense

KEPT = 64  # runs of which what all Δ share is kept; more are prepared for each Δ again

Perturb = Callable[[Tensor], Tensor]
"""Radius ``(N,)`` in pixels → images ``(N, 3, H, W)`` within the budget, not necessarily in [0, 1]."""


class Attack(ABC):
    """Perturb each image by at most Δ, or a size in another norm, so that an objective rises.

    A subclass writes `prepare`, which says how the objective is raised; this class keeps it within Δ.

    Cost:
        For each Δ, ``restarts`` runs for each target of the objective; where that is more than one run, a value of
        ``objective.choice`` for each. Of what answers at random a value is the mean over draws, as of `EOT`.

    Args:
        objective: Value to maximize, of each image on its own; by default the cross-entropy.
        restarts: Number of runs for each target, at least 1, which differ in their random numbers. Of all runs the one
            with the highest ``objective.choice`` is kept, for each image on its own, or the first that is ``enough``.
            The random start of a run is kept for all Δ, in as much memory as the batch, of at most 64 runs.
        seed: Seed of the random numbers, at least 0; they also depend on the image's id and the number of the run.
        name: Name in tables and figures; by default the class name and the objective's suffix, as in ``PGD-FS``.
        enough: By how much the best wrong score has to be above the true one for an image to be left as it is: 0 where
            the answer becomes wrong; by default none is left. Never where the answer does not count, or is drawn.

    Attributes:
        gradient_free: Whether the attack uses values of the objective only, and never its gradient.
        by_value: Whether it keeps the highest of many values, which are then means over what is drawn at random.
        random_start: Whether the first run, too, starts at random and not at the image.
        one_search: Whether one search serves every Δ, so that they had better be asked for together.
        norms: Geometries that its steps are made for; of one that does not say, L2.

    Raises:
        UserError: If ``restarts``, ``seed`` or ``enough`` is too small, or the objective gives no answers to be enough.
    """

    gradient_free: bool = False
    by_value: bool = True
    random_start: bool = False
    one_search: bool = False
    norms: tuple[Norm, ...] = (L2,)

    def __init__(
        self,
        *,
        objective: Objective | None = None,
        restarts: int = 1,
        seed: int = 0,
        name: str = "",
        enough: float | None = None,
    ) -> None:
        self.objective = objective or CrossEntropy()
        self.name = name or "-".join(filter(None, [type(self).__name__, self.objective.suffix]))
        if restarts < 1 or seed < 0:
            raise UserError(f"{self.name} has restarts: {restarts}, seed: {seed}; from 1 and from 0 are accepted")
        if enough is not None and not (enough >= 0 and self.objective.answers):
            raise UserError(
                f"{self.name} has enough: {enough}; it is 0 or more, of objectives that give answers, as SoftKNN does"
            )
        self.restarts, self.seed, self.enough = restarts, seed, enough

    @property
    def passes(self) -> int:
        """About how many passes of the network, forward or backward, an image costs at each Δ."""
        return self.run_passes * self.restarts * self.objective.targets

    @property
    def run_passes(self) -> int:
        """The same of one run on one target; an attack that does not say goes first in a cascade."""
        return 1

    @property
    def starts_aside(self) -> bool:
        """Whether the first run starts at random: as told, or as the objective has no gradient at the image."""
        return self.random_start or self.objective.flat_at_image

    def starts_at_image(self, randomness: Randomness) -> bool:
        """Return whether a run starts at the image: the first one of each target does, unless `starts_aside`."""
        return randomness.draw % self.restarts == 0 and not self.starts_aside

    @abstractmethod
    def prepare(self, attacked: AttackTarget, objective: Bound, randomness: Randomness) -> Perturb:
        """Do the work that all Δ of one run share, and return the function that perturbs the images, once for each Δ.

        Gradients are enabled in both. What the function returns is then clipped to [0, 1] and checked against Δ.

        Args:
            attacked: The batch under attack.
            objective: Function to maximize, from images ``(N, 3, H, W)`` to ``(N,)``.
            randomness: Random numbers of the run, to be drawn once: drawn at each Δ, they would depend on those before.
        """

    @final
    def __call__(
        self,
        model: Callable[[Tensor], Tensor],
        image: Tensor,
        label: Tensor,
        ids: Tensor,
        deltas: Sequence[float],
        surrogate_defense: SurrogateDefense | None = None,
        norm: NormName = DEFAULT,
    ) -> Iterator[Tensor]:
        """Attack a batch and return its adversarial images for each Δ, which are made when they are asked for.

        Weights and buffers of the model are left as they are.

        Args:
            model: Function from images in [0, 1] to logits ``(N, C)``, in evaluation mode; frozen parameters make it
                faster.
            image: ``(N, 3, H, W)`` float32 or float64 in [0, 1]; for Δ, none of them zero everywhere.
            label: ``(N,)`` int64 in [0, C), the true classes.
            ids: ``(N,)`` int64, the same in all runs, as the random numbers depend on them.
            deltas: Largest perturbations, by default each in (0, 1], in units of the image's L2 norm.
            surrogate_defense: The attacker's copy of the defense, for objectives that use it; by default there is none.
            norm: What else the sizes are in, ``l2`` or ``linf``: see `Budget`.

        Returns:
            For each Δ ``(N, 3, H, W)`` in [0, 1], in the dtype of ``image``, detached.

        Raises:
            UserError: If an argument is not as above, the attack has no steps for the norm, or the model returns NaN or
                infinity.
            BudgetError: If the attack leaves its budget.
        """
        return (attempt.image for attempt in self.attempts(model, image, label, ids, deltas, surrogate_defense, norm))

    @final
    def attempts(
        self,
        model: Callable[[Tensor], Tensor],
        image: Tensor,
        label: Tensor,
        ids: Tensor,
        deltas: Sequence[float],
        surrogate_defense: SurrogateDefense | None = None,
        norm: NormName = DEFAULT,
        *,
        transfer: bool = False,
    ) -> Iterator[Attempt]:
        """Attack a batch as `__call__` does, and also return for which images the attack never had a gradient.

        With ``transfer`` the images are made for another network or database than is asked, so that none is ``enough``.
        """
        budget = budget_in(norm)
        if budget.norm not in self.norms:
            raise UserError(f"{self.name} has no steps for norm: {norm}")
        verify_inputs(model, image, label, ids, deltas, budget)
        center = image.detach().clone()  # a copy: no variant can move it
        attacked = AttackTarget(model, center, label, ids, surrogate_defense, self.objective.highest, budget, transfer)
        return self._attack(attacked, image.detach(), deltas)

    def _attack(self, attacked: AttackTarget, image: Tensor, deltas: Sequence[float]) -> Iterator[Attempt]:
        shared: dict[tuple[str, int], Tensor] = {}  # passes of what is made once for all Δ
        compared = expected(self.objective, attacked)
        climbed = compared if self.by_value else self.objective

        @cache
        def bound(target: int) -> Bound:
            score = Bound(partial(climbed.bind, target=target), attacked)
            shared["objective", target] = attacked.passes.take()
            return score

        @lru_cache(maxsize=KEPT)
        def prepared(number: int, target: int) -> tuple[Perturb, list[Tensor]]:
            attacked.draw_from(Randomness(self.seed, attacked.ids, "preparation", target))
            perturb = self.prepare(attacked, bound(target), Randomness(self.seed, attacked.ids, draw=number))
            shared["run", number] = attacked.passes.take()
            return perturb, attacked.take_flat()

        @cache
        def choice() -> Bound:
            attacked.draw_from(Randomness(self.seed, attacked.ids, "preparation of the choice"))
            score = Bound(compared.choice, attacked)
            shared["choice", 0] = attacked.passes.take()
            return score

        for delta in deltas:
            with torch.enable_grad():  # never open across a yield, where it would leak into the caller
                best = self._best(attacked, prepared, choice, image, delta)
            yield best._replace(passes=(best.passes + sum(shared.values())).to(image.device))

    def _best(
        self,
        attacked: AttackTarget,
        prepared: Callable[[int, int], tuple[Perturb, list[Tensor]]],
        choice: Callable[[], Bound],
        image: Tensor,
        delta: float,
    ) -> Attempt:
        """Keep, for each image, the restart and target that the objective would choose."""
        attacked.settled, radius = None, attacked.budget.radius(image, delta)
        best, highest = image, torch.full_like(image[:, 0, 0, 0], -torch.inf)
        passes = torch.zeros(len(image), 2, dtype=torch.int64)
        flat, realized = [], []  # of each gradient of this Δ, those that all Δ share included; of each run
        runs = list(product(range(self.objective.targets), range(self.restarts)))
        for number, (target, _) in enumerate(runs):
            perturb, shared = prepared(number, target)
            attacked.draw_from(Randomness(self.seed, attacked.ids, "run", number))
            found = clipped(self.name, attacked, perturb(radius).detach())
            realized.append(attacked.budget.realized(image, found))
            found = attacked.norm.project(found, image, radius)  # trims rounding
            flat += shared + attacked.take_flat()
            passes += attacked.passes.take()
            if len(runs) == 1:
                best = found
                break
            chosen_by = choice()
            attacked.draw_from(Randomness(self.seed, attacked.ids, "choice"))  # all runs meet the same draws
            left = Remaining(attacked, chosen_by, self.enough)
            with torch.no_grad():
                value = left.value(found, f"the objective of {self.name}")  # (N,)
            passes += attacked.passes.take()
            best = torch.where(column(value > highest), found, best)
            highest = torch.maximum(value, highest)
            if self.enough is not None:
                attacked.settled = highest == torch.inf
                if attacked.settled.all():
                    break
        attacked.require_finite()
        require_budget(self.name, attacked, torch.stack(realized).amax(dim=0), delta)
        nowhere = torch.stack(flat).all(dim=0) if flat else torch.zeros_like(highest, dtype=torch.bool)
        return Attempt(best, nowhere, passes)
