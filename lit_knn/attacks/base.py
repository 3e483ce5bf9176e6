"""The contract of every attack: a variant writes how to perturb, the base keeps it honest."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_knn.errors import UserError
from lit_knn.perturbation import norm, normalized_l2, project, radius

Objective = Callable[[Tensor], Tensor]
"""Images ``(N, 3, H, W)`` → what the attacker maximizes, ``(N,)``, each image on its own."""


class BudgetError(RuntimeError):
    """An attack that left its budget: a bug of the attack, never an accuracy."""


class Noise:
    """A random stream for each image, keyed by (seed, id, restart): the same in any batch and on any rank.

    Numbers are drawn on the CPU, so that they are the same on any device.
    """

    def __init__(self, seed: int, ids: Tensor, restart: int) -> None:
        keys = [hashlib.blake2b(f"{seed}/{id}/{restart}".encode(), digest_size=7).digest() for id in ids.tolist()]
        self._generators = [torch.Generator().manual_seed(int.from_bytes(key, "little")) for key in keys]

    def uniform(self, like: Tensor) -> Tensor:
        """Return one number in [0, 1) per image, ``(N,)``, on the device and in the dtype of ``like``."""
        return torch.stack([torch.rand((), generator=generator) for generator in self._generators]).to(like)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers in the shape ``(N, ...)``, device and dtype of ``like``."""
        return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in self._generators]).to(
            like
        )

    def direction(self, like: Tensor) -> Tensor:
        """Return one uniform direction per image, ``(N, 3, H, W)`` of norm 1."""
        normal = self.normal(like)
        return normal / norm(normal).view(-1, 1, 1, 1)


@dataclass(frozen=True)
class Victim:
    """What an attack is given.

    Args:
        model: Images ``(N, 3, H, W)`` in [0, 1] → logits ``(N, C)``.
        image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1], clean.
        label: ``(N,)`` int64, the true classes.
        id: ``(N,)`` int64.
    """

    model: Callable[[Tensor], Tensor]
    image: Tensor
    label: Tensor
    id: Tensor

    @cached_property
    def _highest_label(self) -> int:
        return int(self.label.max())

    def cross_entropy(self, image: Tensor) -> Tensor:
        """Return the model's loss of each image, ``(N,)``.

        Raises:
            UserError: If the model does not know a label.
        """
        logits = self.model(image)  # (N, C)
        if self._highest_label >= logits.shape[1]:  # on a GPU the loss itself would take the process down
            raise UserError(f"label {self._highest_label} is outside the {logits.shape[1]} classes of the model")
        return F.cross_entropy(logits, self.label, reduction="none")

    def require_finite(self, values: Tensor, what: str) -> None:
        """Raise a UserError that names the images whose ``values (N, ...)`` hold NaN or infinity."""
        finite = values.isfinite().flatten(1).all(dim=1) if values.ndim > 1 else values.isfinite()
        if not finite.all():
            raise UserError(f"{what} is not finite for the images with id {_name(self.id, ~finite)}")


Perturb = Callable[[Tensor, Noise], Tensor]
"""Radius ``(N,)`` in pixels and noise → images ``(N, 3, H, W)`` within the budget, not necessarily in [0, 1]."""


class Attack(ABC):
    """From images to adversarial images of the same size of perturbation, Δ, for each image.

    A variant writes :meth:`prepare` and, where it maximizes something else than the loss, :meth:`objective`.

    Args:
        restarts: Runs from other random numbers; the one with the highest objective is kept for each image.
        seed: Seed of the random numbers, together with the image's id and the restart.
        name: What tables and figures call it; by default the class name.
    """

    def __init__(self, *, restarts: int = 1, seed: int = 0, name: str = "") -> None:
        self.name = name or type(self).__name__
        if restarts < 1:
            raise UserError(f"{self.name} has restarts: {restarts}; 1 or more are accepted")
        self.restarts = restarts
        self.seed = seed

    def objective(self, victim: Victim) -> Objective:
        """Return what is maximized: the cross-entropy, or whatever a variant fixes from the clean images."""
        return victim.cross_entropy

    @abstractmethod
    def prepare(self, victim: Victim, objective: Objective) -> Perturb:
        """Do the work that all Δ share, and return the function that is called for each Δ and restart.

        Gradients are enabled in both. The base clips, trims rounding and checks what the function returns.
        """

    @final
    def __call__(
        self, model: Callable[[Tensor], Tensor], image: Tensor, label: Tensor, id: Tensor, deltas: Sequence[float]
    ) -> Iterator[Tensor]:
        """Attack a batch, lazily: the work for one Δ is done when it is asked for.

        Weights and buffers of the model are left as they are.

        Args:
            model: Pixels → logits ``(N, C)``, in evaluation mode; frozen parameters make it faster.
            image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1], not all zero.
            label: ``(N,)`` int64 in [0, C).
            id: ``(N,)`` int64, stable over runs: it seeds the random numbers.
            deltas: Each Δ in [0, 1]; 0 gives the image itself.

        Returns:
            One ``(N, 3, H, W)`` in [0, 1] per Δ, in the dtype of ``image``, detached.

        Raises:
            UserError: If the input, or a value of the model, is none of the above.
            BudgetError: If the variant leaves its budget.
        """
        _check(model, image, label, id, deltas)
        victim = Victim(model, image.detach().clone(), label, id)  # a copy: no variant can move the ball's centre
        return self._attack(victim, image.detach(), deltas)

    def _attack(self, victim: Victim, image: Tensor, deltas: Sequence[float]) -> Iterator[Tensor]:
        prepared: tuple[Objective, Perturb] | None = None
        for delta in deltas:
            if delta == 0:
                yield image
                continue
            with torch.enable_grad():  # never open across a yield, where it would leak into the caller
                if prepared is None:
                    objective = self.objective(victim)
                    prepared = objective, self.prepare(victim, objective)
                worst = self._worst(victim, *prepared, image, delta)
            yield worst

    def _worst(self, victim: Victim, objective: Objective, perturb: Perturb, image: Tensor, delta: float) -> Tensor:
        """Keep, for each image, the restart with the highest objective."""
        worst, highest = image, torch.full_like(image[:, 0, 0, 0], -torch.inf)
        for restart in range(self.restarts):
            found = perturb(radius(image, delta), Noise(self.seed, victim.id, restart)).detach()
            found = self._within(victim, found, image, delta)
            if self.restarts == 1:
                return found
            with torch.no_grad():
                value = objective(found)  # (N,)
            victim.require_finite(value, f"the objective of {self.name}")
            worst = torch.where((value > highest).view(-1, 1, 1, 1), found, worst)
            highest = torch.maximum(value, highest)
        return worst

    def _within(self, victim: Victim, found: Tensor, image: Tensor, delta: float) -> Tensor:
        """Clip, refuse whatever is not within the budget, and trim the rounding of the rest."""
        if found.shape != image.shape or found.dtype != image.dtype:
            raise BudgetError(f"{self.name} returned {found.dtype} {tuple(found.shape)} for {tuple(image.shape)}")
        victim.require_finite(found, f"the result of {self.name}")
        found = found.clamp(0, 1)
        realised = normalized_l2(image, found)  # (N,)
        outside = realised > delta * (1 + 1e-4) + 1e-6
        if outside.any():
            raise BudgetError(
                f"{self.name} perturbed the images with id {_name(victim.id, outside)} by up to "
                f"Δ = {float(realised.max()):.6g}, its budget is {delta:.6g}"
            )
        return project(found, image, radius(image, delta))


def _check(
    model: Callable[[Tensor], Tensor], image: Tensor, label: Tensor, id: Tensor, deltas: Sequence[float]
) -> None:
    if torch.is_inference_mode_enabled() or image.is_inference() or label.is_inference():
        raise UserError("attacks need gradients, which inference mode excludes: set Trainer(inference_mode=False)")
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        raise UserError("the attacked model is in training mode, so attacking would change it: call model.eval()")
    if wrong := [delta for delta in deltas if not 0 <= delta <= 1]:
        raise UserError(f"Δ of {', '.join(map(str, wrong))} is outside [0, 1]")
    if image.ndim != 4 or image.dtype not in (torch.float32, torch.float64):
        raise UserError(f"images of {image.dtype} {tuple(image.shape)} given; float32 (N, 3, H, W) is accepted")
    if label.shape != image.shape[:1] or id.shape != image.shape[:1]:
        raise UserError(f"{len(image)} images with {tuple(label.shape)} labels and {tuple(id.shape)} ids given")
    outside = ~((image >= 0) & (image <= 1)).flatten(1).all(dim=1)  # NaN is outside too
    if outside.any():
        raise UserError(f"the images with id {_name(id, outside)} have pixels outside [0, 1] or NaN")
    if (zero := norm(image) == 0).any():
        raise UserError(f"the images with id {_name(id, zero)} are zero everywhere: Δ is relative to their norm")
    if (unknown := label < 0).any():
        raise UserError(f"the images with id {_name(id, unknown)} have no label: there is no loss to raise")


def _name(id: Tensor, where: Tensor) -> str:
    """Return the first ids for an error message."""
    ids = id[where.to(id.device)].tolist()
    return ", ".join(map(str, ids[:5])) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
