"""What total variation costs beside ART's TotalVarMin, target ≥ 10, and scikit-image's Chambolle, target ≤ 2.

    OMP_NUM_THREADS=1 python tools/bench_tv.py --clock cpu

Photographs of 224 × 224 pixels from scikit-learn's two sample images, float32, one after the other, λ = 0.03.

ART (`pip install --no-deps adversarial-robustness-toolbox six`), half of the values known: it takes its default of ten
steps, and we as many as bring our objective to the value of its result. Its own objective is another one: no squares,
and norms of whole rows and columns. Its gradient has the second part twice, so that its line search often gives up at
once; λ = 0.03 is the weight that serves it best among .001 to .5. So its solver is asked as well with our objective,
smoothed by 0.001, and the gradient of that.

scikit-image, all values known: it stops by its own rule, and we once our gap between primal and dual is at most its.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from bench import Line, Target, in_turn, parser, report
from sklearn.datasets import load_sample_images
from torch import Tensor

from lit_knn.defenses.transformations.primal_dual import minimize, objective

WEIGHT = 0.03
SMOOTH = 1e-3
NEVER = 1e-9  # a tolerance that nothing reaches


def photographs(count: int, side: int) -> Tensor:
    """Return parts of the sample images, ``(N, 3, side, side)`` float32 in [0, 1]."""
    whole = [torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images]
    places = [(40 * (number // 2) % 200, 97 * number % 400) for number in range(count)]
    parts = [whole[number % 2][:, top : top + side, left : left + side] for number, (top, left) in enumerate(places)]
    return torch.stack(parts).float() / 255


def smoothed(flat: np.ndarray, image: np.ndarray, mask: np.ndarray, _: int, weight: float) -> tuple[float, np.ndarray]:
    """Return our objective of one channel with |∇x| as √(|∇x|² + SMOOTH²), and its gradient."""
    x = flat.reshape(image.shape)
    down, right = np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])
    length = np.sqrt(down**2 + right**2 + SMOOTH**2)
    down, right = down / length, right / length
    force = -(down + right)
    force[1:] += down[:-1]
    force[:, 1:] += right[:, :-1]
    away = mask * (x - image)
    return 0.5 * (away**2).sum() + weight * length.sum(), (away + weight * force).ravel()


def steps_to(value: float, image: Tensor, mask: Tensor) -> int:
    """Return the fewest steps after which the objective of one image is at most a value."""
    known, where = image.double(), mask.double()
    for steps in range(1, 1000):
        found = minimize(image, mask, WEIGHT, tolerance=NEVER, iterations=steps)
        if objective(found.double(), known, where, WEIGHT).item() <= value:
            return steps
    raise RuntimeError(f"the objective does not come down to {value}")


def against_art(images: Tensor, options: argparse.Namespace) -> list[Line]:
    """Compare to the same value of the objective."""
    from art.defences.preprocessor import TotalVarMin

    class OurObjective(TotalVarMin):
        """ART's solver, with what is minimized here."""

        _loss_func = staticmethod(lambda *given: smoothed(*given)[0])
        _deri_loss_func = staticmethod(lambda *given: smoothed(*given)[1])

    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(images.shape, generator=generator) < 0.5).to(images)
    arrays = [[part.permute(1, 2, 0).numpy() for part in pair] for pair in zip(images, masks, strict=True)]
    lines = []
    for name, peer, target in (
        ("ART, 10 steps", TotalVarMin(lamb=WEIGHT, max_iter=10), Target(low=10)),
        ("ART, 10 steps on our objective", OurObjective(lamb=WEIGHT, max_iter=10), Target(low=10)),
        ("ART, 100 steps on our objective", OurObjective(lamb=WEIGHT, max_iter=100), Target(low=10)),
    ):

        def theirs(peer: TotalVarMin = peer) -> list[np.ndarray]:
            return [peer._minimize(*pair) for pair in arrays]

        found = torch.stack([torch.from_numpy(x).permute(2, 0, 1) for x in theirs()]).double()
        values = objective(found, images.double(), masks.double(), WEIGHT)
        given = list(zip(images.split(1), masks.split(1), strict=True))
        steps = [steps_to(value, *pair) for value, pair in zip(values.tolist(), given, strict=True)]
        print(f"{name}: objective {values.mean():.1f} of an image, which we have after {steps} steps", file=sys.stderr)

        def ours(steps: Sequence[int] = steps, given: Sequence[tuple[Tensor, Tensor]] = given) -> None:
            for count, pair in zip(steps, given, strict=True):
                minimize(*pair, WEIGHT, tolerance=NEVER, iterations=count)

        lines.append(line(f"{name} / to its value", theirs, ours, target, len(images), options))
    return lines


def against_scikit_image(images: Tensor, options: argparse.Namespace) -> list[Line]:
    """Compare at the same gap."""
    from skimage.restoration import denoise_tv_chambolle

    mask, lines = torch.ones(1), []
    for eps in options.eps:

        def theirs(eps: float = eps) -> list[np.ndarray]:
            return [denoise_tv_chambolle(image.numpy(), WEIGHT, eps=eps, channel_axis=0) for image in images]

        found = torch.stack([torch.from_numpy(x) for x in theirs()]).double()
        known = images.double()
        # it returns y − ∇ᵀp of a p with |p| ≤ λ, at which the dual is ½ Σ y² − ½ Σ (y − ∇ᵀp)²
        dual = 0.5 * (known.square() - found.square()).flatten(1).sum(dim=1)
        gaps = objective(found, known, mask.double(), WEIGHT) - dual
        tolerances = [math.sqrt(2 * gap / images[0].numel()) for gap in gaps.tolist()]
        print(f"scikit-image, eps {eps:g}: within {max(tolerances):.4f} of the solution", file=sys.stderr)

        def ours(tolerances: Sequence[float] = tolerances) -> None:
            for image, tolerance in zip(images.split(1), tolerances, strict=True):
                minimize(image, mask, WEIGHT, tolerance=tolerance, iterations=10_000)

        lines.append(line(f"all known / Chambolle, eps {eps:g}", ours, theirs, Target(high=2), len(images), options))
    return lines


def line(
    name: str,
    measured: Callable[[], object],
    base: Callable[[], object],
    target: Target | None,
    images: int,
    options: argparse.Namespace,
) -> Line:
    """Return seconds per image of both, taken in turn."""
    taken, beside = in_turn(options, measured, base)
    return Line(name, "s/image", [t / images for t in taken], [t / images for t in beside], target)


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--images", type=int, default=4)
    options.add_argument("--side", type=int, default=224)
    options.add_argument("--only", choices=["art", "scikit-image"], help="one of both peers")
    options.add_argument("--eps", type=float, nargs="+", default=[2e-4, 1e-5], help="of scikit-image's rule")
    options = options.parse_args(args)
    images, lines = photographs(options.images, options.side), []
    if options.only != "scikit-image":
        lines += against_art(images, options)
    if options.only != "art":
        lines += against_scikit_image(images, options)
    report(f"Total variation: {options.images} images of {options.side} pixels, λ = {WEIGHT}", lines, options)


if __name__ == "__main__":
    main()
