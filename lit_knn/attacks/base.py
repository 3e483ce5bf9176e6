"""The contract of every attack: a variant writes how to perturb, the base keeps it honest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple, final

import torch
from torch import Tensor, nn

from lit_knn.attacks.objectives import CrossEntropy, Objective, Score
from lit_knn.attacks.perturbation import column, norm, normalized_l2, project, radius
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness
from lit_knn.threat_models.attack_target import AttackTarget, name_ids

if TYPE_CHECKING:
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense


class Attempt(NamedTuple):
    """What came of an attack at one Δ.

    Attributes:
        image: ``(N, 3, H, W)``, as :meth:`Attack.__call__` gives them.
        flat: ``(N,)`` bool: was the gradient zero wherever the attack looked, and more to gain? False where it took none.
    """

    image: Tensor
    flat: Tensor


class BudgetError(RuntimeError):
    """An attack that left its budget: a bug of the attack, never an accuracy."""


Perturb = Callable[[Tensor, Randomness], Tensor]
"""Radius ``(N,)`` in pixels and the random numbers of one run → images ``(N, 3, H, W)`` within the budget, not necessarily in [0, 1]."""


class Attack(ABC):
    """From images to adversarial images of the same size of perturbation, Δ, for each image.

    A variant writes :meth:`prepare`: how the objective is climbed.

    Args:
        objective: What is maximized; by default the cross-entropy.
        restarts: Runs from other random numbers; the best one is kept for each image (see ``Objective.choice``).
        seed: Seed of the random numbers, together with the image's id and the restart.
        name: What tables and figures call it; by default the class name and what the objective adds to it.

    Attributes:
        gradient_free: Whether it only asks for values of the objective, and not for its gradient.
        random_start: Whether the first run, too, starts at random and not at the image.
    """

    gradient_free: bool = False
    random_start: bool = False

    def __init__(self, *, objective: Objective | None = None, restarts: int = 1, seed: int = 0, name: str = "") -> None:
        self.objective = objective or CrossEntropy()
        suffix = self.objective.suffix
        self.name = name or type(self).__name__ + (f"-{suffix}" if suffix else "")
        if restarts < 1:
            raise UserError(f"{self.name} has restarts: {restarts}; 1 or more are accepted")
        if seed < 0:
            raise UserError(f"{self.name} has seed: {seed}; 0 or more is accepted")
        self.restarts = restarts
        self.seed = seed

    @property
    def starts_aside(self) -> bool:
        """Whether the first run starts at random: it was told to, or the objective has no gradient at the image."""
        return self.random_start or self.objective.flat_at_image

    def starts_at_image(self, randomness: Randomness) -> bool:
        """Whether a run starts at the image: the first one of its target does, unless it starts aside."""
        return randomness.draw % self.restarts == 0 and not self.starts_aside

    @abstractmethod
    def prepare(self, attacked: AttackTarget, objective: Score) -> Perturb:
        """Do the work that all Δ share, and return the function that is called for each Δ and restart.

        Gradients are enabled in both. The base clips, trims rounding and checks what the function returns.
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
    ) -> Iterator[Tensor]:
        """Attack a batch, lazily: the work for one Δ is done when it is asked for.

        Weights and buffers of the model are left as they are.

        Args:
            model: Pixels → logits ``(N, C)``, in evaluation mode; frozen parameters make it faster.
            image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1], not all zero.
            label: ``(N,)`` int64 in [0, C).
            ids: ``(N,)`` int64, stable over runs: it seeds the random numbers.
            deltas: Each Δ in (0, 1].
            surrogate_defense: The attacker's copy of the defense, for objectives that look at it.

        Returns:
            One ``(N, 3, H, W)`` in [0, 1] per Δ, in the dtype of ``image``, detached.

        Raises:
            UserError: If the input, or a value of the model, is none of the above.
            BudgetError: If the variant leaves its budget.
        """
        return (attempt.image for attempt in self.attempts(model, image, label, ids, deltas, surrogate_defense))

    @final
    def attempts(
        self,
        model: Callable[[Tensor], Tensor],
        image: Tensor,
        label: Tensor,
        ids: Tensor,
        deltas: Sequence[float],
        surrogate_defense: SurrogateDefense | None = None,
    ) -> Iterator[Attempt]:
        """Attack a batch as :meth:`__call__` does, and tell of which images the attack never had a gradient."""
        _check(model, image, label, ids, deltas)
        # a copy: no variant can move the ball's center
        attacked = AttackTarget(model, image.detach().clone(), label, ids, surrogate_defense, self.objective.highest)
        return self._attack(attacked, image.detach(), deltas)

    def _attack(self, attacked: AttackTarget, image: Tensor, deltas: Sequence[float]) -> Iterator[Attempt]:
        streams = Randomness(self.seed, attacked.ids)

        @cache
        def prepared(target: int) -> tuple[Perturb, list[Tensor]]:
            attacked.draw_from(streams.of("preparation", target))
            return self.prepare(attacked, self.objective.bind(attacked, target)), attacked.take_flat()

        @cache
        def choice() -> Score:
            attacked.draw_from(streams.of("preparation of the choice"))
            return self.objective.choice(attacked)

        for delta in deltas:
            with torch.enable_grad():  # never open across a yield, where it would leak into the caller
                best = self._best(attacked, prepared, choice, image, delta)
            yield best

    def _best(
        self,
        attacked: AttackTarget,
        prepared: Callable[[int], tuple[Perturb, list[Tensor]]],
        choice: Callable[[], Score],
        image: Tensor,
        delta: float,
    ) -> Attempt:
        """Keep, for each image, the restart and target that the objective would choose."""
        best, highest = image, torch.full_like(image[:, 0, 0, 0], -torch.inf)
        flat = []  # of each gradient of this Δ, those that all Δ share included
        runs = list(product(range(self.objective.targets), range(self.restarts)))
        for number, (target, _) in enumerate(runs):
            randomness = Randomness(self.seed, attacked.ids, draw=number)
            perturb, shared = prepared(target)
            attacked.draw_from(randomness.of("run", number))
            found = self._within(attacked, perturb(radius(image, delta), randomness).detach(), image, delta)
            flat += shared + attacked.take_flat()
            if len(runs) == 1:
                best = found
                break
            chosen_by = choice()
            attacked.draw_from(randomness.of("choice", number))
            with torch.no_grad():
                value = chosen_by(found)  # (N,)
            attacked.require_finite(value, f"the objective of {self.name}")
            best = torch.where(column(value > highest), found, best)
            highest = torch.maximum(value, highest)
        return Attempt(best, torch.stack(flat).all(dim=0) if flat else torch.zeros_like(highest, dtype=torch.bool))

    def _within(self, attacked: AttackTarget, found: Tensor, image: Tensor, delta: float) -> Tensor:
        """Clip, refuse whatever is not within the budget, and trim the rounding of the rest."""
        if found.shape != image.shape or found.dtype != image.dtype:
            raise BudgetError(f"{self.name} returned {found.dtype} {tuple(found.shape)} for {tuple(image.shape)}")
        attacked.require_finite(found, f"the result of {self.name}")
        found = found.clamp(0, 1)
        realized = normalized_l2(image, found)  # (N,)
        outside = realized > delta * (1 + 1e-4) + 1e-6
        if outside.any():
            raise BudgetError(
                f"{self.name} perturbed the images with id {name_ids(attacked.ids, outside)} by up to "
                f"Δ = {float(realized.max()):.6g}, its budget is {delta:.6g}"
            )
        return project(found, image, radius(image, delta))


def _check(
    model: Callable[[Tensor], Tensor], image: Tensor, label: Tensor, ids: Tensor, deltas: Sequence[float]
) -> None:
    if torch.is_inference_mode_enabled() or image.is_inference() or label.is_inference():
        raise UserError("attacks need gradients, which inference mode excludes: set Trainer(inference_mode=False)")
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        raise UserError("the attacked model is in training mode, so attacking would change it: call model.eval()")
    if wrong := [delta for delta in deltas if not 0 < delta <= 1]:
        raise UserError(f"Δ of {', '.join(map(str, wrong))} is outside (0, 1]")
    if image.ndim != 4 or image.dtype not in (torch.float32, torch.float64):
        raise UserError(f"images of {image.dtype} {tuple(image.shape)} given; float32 (N, 3, H, W) is accepted")
    if label.shape != image.shape[:1] or ids.shape != image.shape[:1]:
        raise UserError(f"{len(image)} images with {tuple(label.shape)} labels and {tuple(ids.shape)} ids given")
    outside = ~((image >= 0) & (image <= 1)).flatten(1).all(dim=1)  # NaN is outside too
    if outside.any():
        raise UserError(f"the images with id {name_ids(ids, outside)} have pixels outside [0, 1] or NaN")
    if (zero := norm(image) == 0).any():
        raise UserError(f"the images with id {name_ids(ids, zero)} are zero everywhere: Δ is relative to their norm")
    if (unknown := label < 0).any():
        raise UserError(f"the images with id {name_ids(ids, unknown)} have no label: there is no loss to raise")
