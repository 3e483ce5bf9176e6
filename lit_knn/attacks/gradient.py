"""One gradient of the pixels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lit_knn.attacks.objectives import Score
from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import AttackTarget
from lit_knn.threat_models.norms import LINF, Step, column


def gradient(attacked: AttackTarget, objective: Score, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the objective ``(N,)`` and its gradient ``(N, 3, H, W)`` at ``image``, both detached.

    The attacked remembers where it was zero and the objective not at its highest: an attack that found nothing else had
    nowhere to go. It also remembers where it was not finite, and is zero here, for its next `require_finite`.

    Raises:
        UserError: If the gradient does not exist.
    """
    image = image.detach().requires_grad_()
    value = objective(image)
    # of the pixels only: .grad of the weights is not touched
    ascent = torch.autograd.grad(value.sum(), image, allow_unused=True)[0] if value.requires_grad else None
    if ascent is None:
        raise UserError(f"{attacked.described} has no gradient; take an attack that needs none, such as Square")
    ascent = ascent.contiguous()  # as the images are: arithmetic between two memory layouts is slow
    largest = LINF.length(ascent)
    finite = attacked.note_finite(largest, "the gradient of the attacked model")
    attacked.note_flat((largest == 0) & (value.detach() < attacked.highest))
    return value.detach(), torch.where(column(finite), ascent, 0)


def start(
    attacked: AttackTarget, objective: Score, aside: Callable[[], Tensor], *, at_image: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return where a run starts, ``(N, 3, H, W)``, and there the objective ``(N,)`` and its gradient, all detached.

    Args:
        attacked: The batch under attack.
        objective: What is climbed.
        aside: Gives a random point near each image, ``(N, 3, H, W)``.
        at_image: Start at the image, where no step of a short run is lost on a random detour; only images where the
            objective has no gradient, as that of a distance to the image itself, start aside, which costs one more.
    """
    calls, point = attacked.calls, attacked.image if at_image else aside()
    value, ascent = gradient(attacked, objective, point)
    attacked.require_finite()  # before all other steps are taken
    if not at_image:
        return point, value, ascent
    flat = is_flat(ascent)
    if not flat.any():
        return attacked.image, value, ascent
    attacked.calls = calls  # or else what an image meets later would depend on whether another one was flat
    point = torch.where(column(flat), aside(), attacked.image)
    with attacked.passes.only(flat):  # or else what the others cost would depend on it as well
        beside, slope = gradient(attacked, objective, point)
    return point, torch.where(flat, beside, value), torch.where(column(flat), slope, ascent)


def is_flat(gradient: Tensor) -> Tensor:
    """Return ``(N,)`` bool: has an image a gradient ``(N, 3, H, W)`` of zero, which leads nowhere?"""
    return LINF.length(gradient) == 0


def require_step(step: Step | None) -> Step | None:
    """Return ``step``, or raise a UserError if there is no such step."""
    if step not in ("sign", "l2", None):
        raise UserError(f"step: {step!r} is unknown; sign, l2 and null are accepted")
    return step
