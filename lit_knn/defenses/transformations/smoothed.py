"""An image of least total variation with the gradient of its known values, of which the solver's steps keep nothing.

The solution x of (P), see `primal_dual`, has flat parts and kinks: a change of y moves a whole part, or nothing. Where
|·| is the smooth √(|·|² + ε²) instead, x is where the objective's derivative is zero,

    m (x − y) + λ ∇ᵀ∇x / √(|∇x|² + ε²) = 0, so that A dx = m dy with A = diag m + λ ∇ᵀ H ∇,

H the second derivative of the root at ∇x. So the gradient for y is m A⁻¹ times that for x, A being symmetric.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lit_knn.defenses.transformations.differences import add_transposed, slopes
from lit_knn.defenses.transformations.primal_dual import minimize

WIDTH = 0.03  # ε: differences below it bend as if they were none; on CIFAR-10 attacks are as strong with .01
STEPS = 30  # of conjugate gradients: on digits with λ = .03 to 2e-4 of the solution, anisotropic to 4e-3; black and
# white noise takes more, anisotropic many more


def minimize_with_gradient(
    image: Tensor, mask: Tensor, weight: float, *, isotropic: bool = True, tolerance: float, iterations: int
) -> Tensor:
    """Return what `primal_dual.minimize` does, with the gradient of the smooth problem at that solution.

    Cost:
        For the gradient 30 steps of about 20 passes over the image, in the memory of a dozen images.

    References:
        Vogel and Oman 1996, Section 2, the smooth |·|; Hestenes and Stiefel 1952, conjugate gradients.
    """
    found: Tensor = _Minimized.apply(image, mask, weight, isotropic, tolerance, iterations)
    return found


class _Minimized(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, image: Tensor, mask: Tensor, weight: float, isotropic: bool, tolerance: float, iterations: int
    ) -> Tensor:
        x = minimize(image, mask, weight, isotropic=isotropic, tolerance=tolerance, iterations=iterations)
        ctx.save_for_backward(x, mask)
        ctx.weight, ctx.isotropic = weight, isotropic
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *towards: Tensor) -> tuple[Tensor | None, ...]:
        x, mask = ctx.saved_tensors
        pulled = pull_back(towards[0], x, mask, ctx.weight, isotropic=ctx.isotropic)
        return pulled, None, None, None, None, None


def pull_back(
    towards: Tensor,
    x: Tensor,
    mask: Tensor,
    weight: float,
    *,
    isotropic: bool = True,
    width: float = WIDTH,
    steps: int = STEPS,
) -> Tensor:
    """Return the gradient for y of what has a given one for the solution x, by preconditioned conjugate gradients.

    Args:
        towards: ``(N, D, H, W)``, the gradient for x.
        x: ``(N, D, H, W)``, the solution.
        mask: m, 1 or 0, in the dtype of ``x`` and of a shape that expands to its.
        weight: λ.
        isotropic: What |·| is.
        width: ε.
        steps: Of conjugate gradients, which each channel takes on its own: (P) does not connect them.

    Returns:
        ``(N, D, H, W)``, 0 where m is.
    """
    slope = slopes(x)
    squared = slope.square()
    flat = (squared.sum(dim=1, keepdim=True) if isotropic else squared).add_(width**2).rsqrt_()  # 1 / the root
    along = slope * flat  # at most 1 long
    held = mask.expand_as(x)

    def bent(rise: Tensor) -> Tensor:
        """H of a change of slopes: less across an edge than along it."""
        share = (along * rise).sum(dim=1, keepdim=True) if isotropic else along * rise
        return (rise - along * share) * flat

    def product(change: Tensor) -> Tensor:
        out = held * change
        add_transposed(out, bent(slopes(change)), weight)
        return out

    curved = (1 - along.square()) * flat  # the diagonal of H, so that of A follows
    curved[:, 0, :, -1], curved[:, 1, ..., -1] = 0, 0
    diagonal = held + weight * curved.sum(dim=1)
    diagonal[:, :, 1:] += weight * curved[:, 0, :, :-1]
    diagonal[..., 1:] += weight * curved[:, 1, ..., :-1]
    diagonal.clamp_(min=torch.finfo(x.dtype).eps)  # one pixel alone that is unknown has nothing

    largest = towards.abs().amax(dim=(2, 3), keepdim=True)  # by which squares would underflow or overflow
    scale = torch.where(largest > 0, largest, 1)
    found, left = torch.zeros_like(x), towards / scale
    near = left / diagonal
    ahead, size = near.clone(), _total(left * near)
    for _ in range(steps):
        turned = product(ahead)
        length = _ratio(size, _total(ahead * turned))
        found += length * ahead
        left -= length * turned
        near = left / diagonal
        before, size = size, _total(left * near)
        ahead = near + _ratio(size, before) * ahead
    return torch.where(held > 0, found * scale, 0)  # where no value of a channel is known, no step means anything


def _total(values: Tensor) -> Tensor:
    """Return the sums ``(N, D, 1, 1)`` of ``(N, D, H, W)``, in an order that does not depend on N or the threads."""
    return values.sum(dim=3, keepdim=True).sum(dim=2, keepdim=True)


def _ratio(first: Tensor, second: Tensor) -> Tensor:
    """Return first / second, and 0 where nothing is left to divide by."""
    return torch.where(second > 0, first / second, 0)
