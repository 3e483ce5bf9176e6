"""What an attack may return."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lit_knn.threat_models.attack_target import AttackTarget, name_ids


class Attempt(NamedTuple):
    """Hold what an attack made of a batch at one Δ.

    Attributes:
        image: ``(N, 3, H, W)`` in [0, 1], the adversarial images.
        flat: ``(N,)`` bool, whether each gradient that the attack took of an image was zero although the objective
            could still rise; false where it took none.
        passes: ``(N, 2)`` int64, forward and backward passes that each image took: at this Δ and in what all Δ share.
    """

    image: Tensor
    flat: Tensor
    passes: Tensor


class BudgetError(RuntimeError):
    """Report that an attack left its budget: a bug of the attack, never counted as an accuracy."""


def clipped(attack: str, attacked: AttackTarget, found: Tensor) -> Tensor:
    """Return what an attack found, ``(N, 3, H, W)`` of any values, clipped to [0, 1].

    Raises:
        BudgetError: If it is of another shape or type than the attacked images.
    """
    image = attacked.image
    if found.shape != image.shape or found.dtype != image.dtype:
        raise BudgetError(f"{attack} returned {found.dtype} {tuple(found.shape)} for {tuple(image.shape)}")
    attacked.note_finite(found, f"the result of {attack}")
    return found.clamp(0, 1)


def require_budget(attack: str, attacked: AttackTarget, realized: Tensor, size: float) -> None:
    """Refuse images that a perturbation of a realized size ``(N,)`` takes over the budget, but for rounding.

    Raises:
        BudgetError: If there are any.
    """
    outside = realized > size * (1 + 1e-4) + 1e-6
    if outside.any():
        raise BudgetError(
            f"{attack} perturbed the images with id {name_ids(attacked.ids, outside)} by up to "
            f"{attacked.budget.unit.symbol} = {float(realized.max()):.6g}, its budget is {size:.6g}"
        )
