"""What an attack costs beside the bare network that it attacks: ratios of interleaved pairs.

PGD-10 against 10 × (forward + input gradient), target ≤ 1.05; FGSM at 8 values of Δ against one, target ≤ 1.5.

    OMP_NUM_THREADS=1 python tools/bench_attack.py --network resnet18 --batch 8
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from lit_knn.attacks import FGSM, PGD


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--network", default="resnet18", help="any name that torchvision knows")
    parser.add_argument("--size", type=int, default=224, help="side of the images, in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images at a time")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of measurements")
    parser.add_argument("--channels-last", action="store_true", help="memory format of the weights, on both sides")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device(arguments.device)
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    model: nn.Module = getattr(models, arguments.network)().to(device).to(memory_format=layout)
    model.requires_grad_(False).eval()
    image = torch.rand(arguments.batch, 3, arguments.size, arguments.size, device=device)
    label = torch.randint(1000, (arguments.batch,), device=device)
    id = torch.arange(arguments.batch)

    def bare() -> None:
        for _ in range(10):
            x = image.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(model(x), label, reduction="sum"), x)

    def attack(attack: FGSM | PGD, *deltas: float) -> Callable[[], object]:
        return lambda: list(attack(model, image, label, id, deltas))

    sweep = [0.01 * step for step in range(1, 9)]
    _compare("PGD-10 / 10 × (forward + gradient)", attack(PGD(), 0.06), bare, device, arguments.pairs)
    _compare("FGSM, 8 Δ / 1 Δ", attack(FGSM(), *sweep), attack(FGSM(), 0.06), device, arguments.pairs)


def _compare(
    name: str, measured: Callable[[], object], base: Callable[[], object], device: torch.device, pairs: int
) -> None:
    """Alternate the two, so that a busy machine slows both, and print the median of the ratios."""
    ratios, seconds = [], []
    for pair in range(pairs + 1):
        order = (measured, base) if pair % 2 else (base, measured)
        taken = {run: _seconds(run, device) for run in order}
        if pair:  # the first only warms up
            ratios.append(taken[measured] / taken[base])
            seconds.append(taken[base])
    print(
        f"{name}: {statistics.median(ratios):.3f} (median of {pairs} pairs, {min(ratios):.3f} to {max(ratios):.3f}; "
        f"base {statistics.median(seconds):.3f} s)"
    )


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return CPU seconds on a CPU, where other processes would disturb the clock, and the clock's on a GPU."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    start = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


if __name__ == "__main__":
    main()
