"""What an attack costs beside the bare network that it attacks, and beside the same attack of other packages.

PGD-10 against 10 × (forward + input gradient) of the same network, target ≤ 1.05; against torchattacks' PGDL2 and
Foolbox's L2PGD as they come (contiguous weights that require gradients), targets ≤ 0.80 and ≤ 0.48; FGSM at 8 values of
Δ against one, target ≤ 1.5. The levers, channels-last and folded BatchNorms, are measured on the bare frozen network.

    OMP_NUM_THREADS=1 python tools/bench_attack.py --clock cpu
    OMP_NUM_THREADS=1 python tools/bench_attack.py --clock cpu --network my_networks.py:resnet56 --size 32 --batch 64
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from bench import Line, Target, in_turn, parser, report
from torch import Tensor, nn

from lit_knn.attacks import FGSM, PGD
from lit_knn.backbones import Classifier
from lit_knn.threat_models.budget import RELATIVE_L2

DELTA, STEPS = 0.06, 10


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=15)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--network", default="torchvision/resnet18", help="as model.classifier.network")
    options.add_argument("--weights", help="as model.classifier.weights; random ones by default")
    options.add_argument("--size", type=int, default=224, help="side of the images, in pixels")
    options.add_argument("--batch", type=int, default=2, help="images at a time")
    options = options.parse_args(args)
    torch.manual_seed(0)
    device = torch.device(options.device)
    network = {"network": options.network, "weights": options.weights, "mean": [0, 0, 0], "std": [1, 1, 1]}
    model, unfolded = Classifier(**network).to(device), Classifier(**network, fold=False).to(device)
    unfolded.load_state_dict(model.state_dict())
    frozen = copy.deepcopy(model.network).to(memory_format=torch.contiguous_format)
    trained = copy.deepcopy(frozen).requires_grad_(True)  # as a user would hand it to a package
    image = torch.rand(options.batch, 3, options.size, options.size, device=device)
    model.examine(image)
    label = torch.randint(model.num_classes or 0, (options.batch,), device=device)
    id = torch.arange(options.batch)

    def bare(network: nn.Module) -> Callable[[], None]:
        def run() -> None:
            for _ in range(STEPS):
                x = image.detach().requires_grad_()
                torch.autograd.grad(F.cross_entropy(network(x), label, reduction="sum"), x)

        return run

    def forward(network: nn.Module) -> Callable[[], Tensor]:
        return torch.no_grad()(lambda: network(image))

    def attack(attack: FGSM | PGD, *deltas: float) -> Callable[[], object]:
        return lambda: list(attack(model, image, label, id, deltas))

    ours = attack(PGD(steps=STEPS, random_start=True), DELTA)  # as theirs do
    peers = _peers(trained, image, label)
    sweep = attack(FGSM(), *(0.01 * step for step in range(1, 9)))
    gradients = [bare(network) for network in (model, unfolded, frozen)]
    pgd, *others, folded, same, plain = in_turn(options, ours, *peers.values(), *gradients)
    passes = in_turn(options, forward(model), forward(unfolded))
    fgsm = in_turn(options, sweep, attack(FGSM(), DELTA))
    targets = {"torchattacks": Target(high=0.80), "Foolbox": Target(high=0.48)}
    lines = [
        Line("PGD-10 / 10 × (forward + gradient)", "s", pgd, folded, Target(high=1.05)),
        *(
            Line(f"PGD-10 / {name}", "s", pgd, seconds, targets[name])
            for name, seconds in zip(peers, others, strict=True)
        ),
        Line("channels-last / contiguous, bare", "s", same, plain),
        Line("folded / channels-last: forward + gradient", "s", folded, same),
        Line("folded / channels-last: forward", "s", *passes),
        Line("FGSM, 8 Δ / 1 Δ", "s", *fgsm, Target(high=1.5)),
    ]
    report(f"Attack: {options.network}, {options.batch} images of {options.size} px, {options.device}", lines, options)


def _peers(model: nn.Module, image: Tensor, label: Tensor) -> dict[str, Callable[[], object]]:
    """Return PGD-10 with L2 steps in other packages, with their defaults; they take one radius for all images."""
    import foolbox
    import torchattacks

    size = float(RELATIVE_L2.radius(image, DELTA).mean())
    step = 2.5 * size / STEPS
    theirs = torchattacks.PGDL2(model, eps=size, alpha=step, steps=STEPS, random_start=True)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=image.device)
    descent = foolbox.attacks.L2ProjectedGradientDescentAttack(abs_stepsize=step, steps=STEPS)
    return {
        "torchattacks": lambda: theirs(image, label),
        "Foolbox": lambda: descent(wrapped, image, label, epsilons=size),
    }


if __name__ == "__main__":
    main()
