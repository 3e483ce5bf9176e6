"""What an attack costs beside the bare network that it attacks.

PGD-10 against 10 × (forward + input gradient), target ≤ 1.05; FGSM at 8 values of Δ against one, target ≤ 1.5.

    OMP_NUM_THREADS=1 python tools/bench_attack.py --clock cpu
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from bench import Line, Target, in_turn, parser, report
from torch import nn
from torchvision import models

from lit_knn.attacks import FGSM, PGD


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=25)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--network", default="resnet18", help="any name that torchvision knows")
    options.add_argument("--size", type=int, default=224, help="side of the images, in pixels")
    options.add_argument("--batch", type=int, default=2, help="images at a time")
    options.add_argument("--channels-last", action="store_true", help="memory format of the weights, on both sides")
    options = options.parse_args(args)
    torch.manual_seed(0)
    device = torch.device(options.device)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    model: nn.Module = getattr(models, options.network)().to(device).to(memory_format=layout)
    model.requires_grad_(False).eval()
    image = torch.rand(options.batch, 3, options.size, options.size, device=device)
    label = torch.randint(1000, (options.batch,), device=device)
    id = torch.arange(options.batch)

    def bare() -> None:
        for _ in range(10):
            x = image.detach().requires_grad_()
            torch.autograd.grad(F.cross_entropy(model(x), label, reduction="sum"), x)

    def attack(attack: FGSM | PGD, *deltas: float) -> Callable[[], object]:
        return lambda: list(attack(model, image, label, id, deltas))

    sweep = attack(FGSM(), *(0.01 * step for step in range(1, 9)))
    pgd = in_turn(options, attack(PGD(), 0.06), bare)
    fgsm = in_turn(options, sweep, attack(FGSM(), 0.06))
    lines = [
        Line("PGD-10 / 10 × (forward + gradient)", "s", *pgd, Target(high=1.05)),
        Line("FGSM, 8 Δ / 1 Δ", "s", *fgsm, Target(high=1.5)),
    ]
    report(f"Attack: {options.network}, {options.batch} images of {options.size} px, {options.device}", lines, options)


if __name__ == "__main__":
    main()
