"""Total variation of images of which some values are known: a primal-dual solver with a stopping rule per image.

For each image y with known values m ∈ {0, 1} and a weight λ > 0

    minimize over x    ½ Σ m (x − y)² + λ Σ |∇x|                                                           (P)

∇ are the differences to the next row and column of each channel, 0 at the border; |·| is the length of both together
(isotropic) or the sum of their absolute values. With y in [0, 1] a solution lies there, too: over 0 ≤ x ≤ 1 the minimum
is the same, and the dual finite for any p with |p| ≤ λ (anisotropic: for both parts):

    maximize over p    Σ min over 0 ≤ x ≤ 1 of ½ m (x − y)² + x ∇ᵀp                                        (D)

Where m = 0 several x may be solutions; the kept values of all of them are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.defenses.transformations.differences import add_transposed, slopes

STEP = 0.4  # τ; the best one does not depend on λ where all values are known: x − y and p both grow with it
RELAXATION = 1.8  # above 1 and below 2; it saves a third of the steps
CHECKED = 10  # steps between two looks at the gap, which cost about as much as one step
CACHED = 150_000  # values of an image or of several that a CPU solves at a time, in a dozen tensors of this size


@torch.no_grad()
def minimize(
    image: Tensor, mask: Tensor, weight: float, *, isotropic: bool = True, tolerance: float, iterations: int
) -> Tensor:
    """Return an x of (P), by the over-relaxed primal-dual hybrid gradient method.

    Each image stops on its own, once the gap between (P) and (D) proves that its known values are as near to the
    solution's as ``tolerance`` says; so it is the same one in any batch.

    Args:
        image: y, ``(N, D, H, W)`` float32 or float64 in [0, 1], on any device. Unknown values do not matter.
        mask: m, 1 or 0, in the dtype of ``image`` and of a shape that expands to its.
        weight: λ.
        isotropic: What |·| is.
        tolerance: Largest distance from the solution: root of the sum of squares of known values by D·H·W.
        iterations: Steps after which an image is left as it is.

    Returns:
        ``(N, D, H, W)`` in [0, 1].

    Cost:
        With λ = .03 and a tolerance of 1/255, photographs take 50 to 80 steps where half of the values are known and 10
        to 20 where all are; a step is 20 passes over the image. Each look at the gap waits for the GPU.

    References:
        Chambolle and Pock 2011, Algorithm 1; Condat 2013, Section 5, the relaxation.
    """
    mask = mask.expand_as(image)
    together = max(1, CACHED // image[0].numel()) if image.device.type == "cpu" else len(image)
    parts = zip(image.split(together), mask.split(together), strict=True)
    return torch.cat([_solve(*part, weight, isotropic, tolerance, iterations) for part in parts])


def objective(x: Tensor, image: Tensor, mask: Tensor, weight: float, *, isotropic: bool = True) -> Tensor:
    """Return the value ``(N,)`` of (P) at x ``(N, D, H, W)``; see `minimize`."""
    slope = slopes(x)
    length = slope.square().sum(dim=1).sqrt() if isotropic else slope.abs().sum(dim=1)
    return _total(0.5 * mask * (x - image).square() + weight * length)


def dual(p: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Return the value ``(N,)`` of (D) at p ``(N, 2, D, H, W)``; see `minimize`."""
    force = torch.zeros_like(image)
    add_transposed(force, p, 1.0)
    x = (image - force).clamp(0, 1)
    known, unknown = 0.5 * (x - image).square() + x * force, force.clamp(max=0)
    return _total(torch.lerp(unknown, known, mask))  # torch.where takes as long as all of this together


def _solve(image: Tensor, mask: Tensor, weight: float, isotropic: bool, tolerance: float, iterations: int) -> Tensor:
    """Solve a part of the batch; p is in units of λ here."""
    enough = 0.5 * tolerance**2 * image[0].numel()  # the gap is at least ½ Σ m (x − solution)²
    found, index = torch.empty_like(image), torch.arange(len(image), device=image.device)
    x = _filled(image, mask)
    slope = x.new_zeros(len(x), 2, *x.shape[1:])
    p = slope.clone()
    pull, shrink = STEP * mask * image, 1 / (1 + STEP * mask)
    for step in range(1, iterations + 1):
        new_x = x + pull
        add_transposed(new_x, p, -STEP * weight)
        new_x *= shrink
        slopes(torch.sub(new_x, x, alpha=0.5), slope)  # half of that at 2 new_x − x
        new_p = torch.add(p, slope, alpha=2 / (8 * STEP * weight))  # ‖∇‖² ≤ 8
        _project(new_p, isotropic)
        if step == iterations:
            found[index] = new_x.clamp_(0, 1)
            break
        if step % CHECKED == CHECKED // 2:
            seen = new_x.clamp(0, 1)
            gap = objective(seen, image, mask, weight, isotropic=isotropic) - dual(weight * new_p, image, mask)
            done = gap <= enough
            found[index[done]] = seen[done]
            if done.all():
                break
            if done.any():
                state = (index, image, mask, x, p, slope, pull, shrink, new_x, new_p)
                index, image, mask, x, p, slope, pull, shrink, new_x, new_p = (part[~done] for part in state)
        x.lerp_(new_x, RELAXATION)
        p.lerp_(new_p, RELAXATION)
    return found


def _filled(image: Tensor, mask: Tensor) -> Tensor:
    """Return where to start: unknown values are the mean of known neighbors, or gray where there are none."""
    known, near = _blocks(mask), _blocks(image * mask)
    mean = near / known.clamp(min=1) + 0.5 * (1 - known.clamp(max=1))
    return torch.lerp(mean, image, mask)  # F.avg_pool2d and torch.where take ten times as long on a CPU


def _blocks(values: Tensor) -> Tensor:
    """Return the sums over 3 × 3 values around each of ``(N, D, H, W)``."""
    rows = values.clone()
    rows[:, :, 1:] += values[:, :, :-1]
    rows[:, :, :-1] += values[:, :, 1:]
    blocks = rows.clone()
    blocks[..., 1:] += rows[..., :-1]
    blocks[..., :-1] += rows[..., 1:]
    return blocks


def _project(p: Tensor, isotropic: bool) -> None:
    """Move p ``(N, 2, D, H, W)`` to the nearest one of length 1 at most."""
    if not isotropic:
        p.clamp_(-1, 1)
        return
    length = p[:, 0].square().addcmul_(p[:, 1], p[:, 1])
    p *= length.clamp_(min=1).rsqrt_()[:, None]


def _total(values: Tensor) -> Tensor:
    """Return the sums ``(N,)`` of ``(N, D, H, W)``, in an order that does not depend on N or the threads."""
    return values.sum(dim=3).sum(dim=(1, 2))
