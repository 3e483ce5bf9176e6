"""What an attack may be given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lit_knn.errors import UserError
from lit_knn.threat_models.attack_target import name_ids
from lit_knn.threat_models.budget import Budget


def verify_inputs(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    ids: Tensor,
    deltas: Sequence[float],
    budget: Budget,
) -> None:
    """Refuse what no attack is defined for.

    Args:
        model: In evaluation mode.
        image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1], none of them zero everywhere if the budget is
            relative.
        label: ``(N,)`` int64, from 0.
        ids: ``(N,)`` int64.
        deltas: Sizes of perturbations, in the unit of the budget.
        budget: Says which sizes there are.

    Raises:
        UserError: If one of them is anything else, or PyTorch is in inference mode.
    """
    if torch.is_inference_mode_enabled() or image.is_inference() or label.is_inference():
        raise UserError("attacks need gradients, which inference mode excludes: set Trainer(inference_mode=False)")
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        raise UserError("the attacked model is in training mode, so attacking would change it: call model.eval()")
    budget.verify(deltas)
    if image.ndim != 4 or image.dtype not in (torch.float32, torch.float64):
        raise UserError(f"images of {image.dtype} {tuple(image.shape)} given; float32 (N, 3, H, W) is accepted")
    if label.shape != image.shape[:1] or ids.shape != image.shape[:1]:
        raise UserError(f"{len(image)} images with {tuple(label.shape)} labels and {tuple(ids.shape)} ids given")
    pixels = image.flatten(1)
    outside = ~((pixels.amin(dim=1) >= 0) & (pixels.amax(dim=1) <= 1))  # NaN is outside too
    if outside.any():
        raise UserError(f"the images with id {name_ids(ids, outside)} have pixels outside [0, 1] or NaN")
    if budget.relative and (zero := ~pixels.any(dim=1)).any():
        raise UserError(f"the images with id {name_ids(ids, zero)} are zero everywhere: Δ is relative to their norm")
    if (unknown := label < 0).any():
        raise UserError(f"the images with id {name_ids(ids, unknown)} have no label: there is no loss to raise")
