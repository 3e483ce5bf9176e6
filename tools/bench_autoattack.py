"""The undefended network in L2: our cascade beside torchattacks' AutoAttack, target ≤ 0.70 of its time.

    OMP_NUM_THREADS=1 python tools/bench_autoattack.py --clock cpu
    OMP_NUM_THREADS=1 python tools/bench_autoattack.py --clock cpu --network my.py:resnet56 --images 'test-*.tar'

Ours are the attacks of ``configs/attack/autoattack.yaml``, FMN in place of FAB; theirs is the standard version, on the
network as it comes. torchattacks leaves APGD and FAB at 10 steps where the paper has 100: some lines are of the paper's
steps on both sides, some of 10. What either leaves of each image is shown to that network, and images that only one
side breaks are named.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from bench import CLOCKS, Line, Target, parser, report
from torch import Tensor, nn
from torchvision.transforms import Normalize

from lit_knn.attacks import APGD, FMN, Square
from lit_knn.attacks.objectives import Margin, TargetedDLR
from lit_knn.backbones import Classifier
from lit_knn.data import Digits, ImageData, TarShards
from lit_knn.evaluation.cascade import Cascade, Stage, stages
from lit_knn.evaluation.sample_results import SampleResults
from lit_knn.evaluation.scoring import Answers
from lit_knn.threat_models import GrayBox

TOLERANCE = 0.2  # % of the images by which our accuracy may be above theirs


class Batch(NamedTuple):
    """Images ``(N, 3, H, W)`` with labels and ids ``(N,)``."""

    image: Tensor
    label: Tensor
    ids: Tensor


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--network", default="lit_knn.backbones.digits.digits_resnet", help="as in model.classifier")
    options.add_argument("--weights", help="the same; by default as the network comes")
    options.add_argument("--mean", type=float, nargs=3, default=[0.5] * 3, help="the same")
    options.add_argument("--std", type=float, nargs=3, default=[0.5] * 3, help="the same")
    options.add_argument("--images", help="tar shards, as TarShards has them; by default the quickstart's digits")
    options.add_argument("--classes", help="file of their classes, the same")
    options.add_argument("--queries", type=int, default=200, help="how many images")
    options.add_argument("--batch", type=int, default=100, help="images at a time")
    options.add_argument("--radius", type=float, default=0.5, help="L2 norm of the perturbation")
    options.add_argument("--steps", type=int, nargs="+", default=[100, 10], help="of APGD and FAB")
    options.add_argument("--squares", type=int, default=5000, help="queries of Square")
    options = options.parse_args(args)
    source = TarShards(urls=options.images, classes=options.classes) if options.images else Digits(split="test")
    data = ImageData(queries=source, batch_size=options.batch, num_queries=options.queries)
    classifier = Classifier(network=options.network, weights=options.weights, mean=options.mean, std=options.std)
    loaded = (data.on_after_batch_transfer(batch) for batch in data.test_dataloader())
    batches = [Batch(batch["image"], batch["label"], batch["id"]) for batch in loaded]
    network = copy.deepcopy(classifier.network).to(memory_format=torch.contiguous_format).requires_grad_(True)
    plain = nn.Sequential(Normalize(options.mean, options.std), network).eval()  # as a user would hand it to a package
    clean = _right(plain, batches)
    lines = []
    for steps in options.steps:
        ours = partial(_ours, classifier, batches, options.radius, steps, options.squares)
        theirs = partial(_theirs, plain, batches, options.radius, steps, options.squares)
        found, seconds = _measured(options, ours, theirs)
        stand = [_right(plain, [batch._replace(image=_images(batch, images)) for batch in batches]) for images in found]
        mine, other = (100 * sum(right.values()) / len(right) for right in stand)
        for image in (image for image in clean if stand[0][image] != stand[1][image]):
            whom = "AutoAttack" if stand[1][image] else "the cascade"
            print(f"{steps} steps: image {image} stands only against {whom}", file=sys.stderr)
        lines += [
            Line(f"{steps} steps: cascade / AutoAttack", "s", *seconds, Target(high=0.7)),
            Line(f"{steps} steps: accuracy / clean", "%", [mine], [100 * sum(clean.values()) / len(clean)]),
            Line(
                f"{steps} steps: accuracy / AutoAttack's + {TOLERANCE}",
                "%",
                [mine],
                [other + TOLERANCE],
                Target(high=1),
            ),
        ]
    report(f"{options.network}, {len(clean)} images, perturbed by {options.radius:g} in L2", lines, options)


def _images(batch: Batch, found: dict[int, Tensor]) -> Tensor:
    """Return a batch's images as an attack left them."""
    return torch.stack([found.get(id, image) for id, image in zip(batch.ids.tolist(), batch.image, strict=True)])


def _measured(
    options: Any, *runs: Callable[[], dict[int, Tensor]]
) -> tuple[list[dict[int, Tensor]], list[list[float]]]:
    """Return what each run finds, and its seconds in each round; none warms up, as they take minutes."""
    clock, seconds = CLOCKS[options.clock], [[] for _ in runs]
    for _ in range(options.rounds):
        found = []
        for run, taken in zip(runs, seconds, strict=True):
            start = clock()
            found.append(run())
            taken.append(clock() - start)
    return found, seconds


def _ours(classifier: Classifier, batches: list[Batch], radius: float, steps: int, squares: int) -> dict[int, Tensor]:
    """Return by id the images that the cascade breaks, as it left them."""
    broken: dict[int, Tensor] = {}
    attacks = [
        APGD(steps=steps, enough=0),
        FMN(steps=2 * steps),
        APGD(steps=steps, objective=TargetedDLR(targets=9), enough=0),
        Square(queries=squares, objective=Margin(), enough=0),
    ]

    @torch.no_grad()
    def answers(image: Tensor, label: Tensor, flat: Tensor, passes: Tensor) -> Answers:
        right = classifier(image).argmax(dim=1) == label
        return Answers(right[:, None, None].short(), torch.zeros(len(label)), torch.zeros(len(label)), flat, passes)

    def attack(stage: Stage, image: Tensor, label: Tensor, ids: Tensor) -> Iterator[Answers]:
        for found in attacks[stage.case].attempts(classifier, image, label, ids, [radius], norm="l2"):
            known = answers(found.image, label, found.flat, found.passes)
            wrong = known.hits[:, 0, 0] == 0
            broken.update(zip(ids[wrong].tolist(), found.image[wrong], strict=True))
            yield known

    classifier.examine(batches[0].image)
    order = stages([(GrayBox(), attack) for attack in attacks], 1)
    cascade = Cascade(order, (len(attacks), 2), len(batches[0].ids), attack, lambda ids, results: None)
    for image, label, ids in batches:
        nothing = torch.zeros(len(ids), 2, dtype=torch.int64)
        known = answers(image, label, nothing[:, 0].bool(), nothing)
        right = known.hits[:, 0, 0] > 0
        cells = {name: values[None, None] for name, values in known._asdict().items()}
        cascade.add(image, label, ids, SampleResults(right=right, stored=torch.zeros_like(right), **cells))
    cascade.finish(lambda: None)
    return broken


def _theirs(model: nn.Module, batches: list[Batch], radius: float, steps: int, squares: int) -> dict[int, Tensor]:
    """Return by id the images as AutoAttack leaves them."""
    import torchattacks

    classes = model(batches[0].image[:1]).shape[1]
    attack = torchattacks.AutoAttack(model, norm="L2", eps=radius, version="standard", n_classes=classes, seed=0)
    for part in attack._autoattack.attacks:
        if hasattr(part, "steps"):
            part.steps = steps
        else:
            part.n_queries = squares
    found: dict[int, Tensor] = {}
    for image, label, ids in batches:
        found |= dict(zip(ids.tolist(), attack(image, label), strict=True))
    return found


@torch.no_grad()
def _right(model: nn.Module, batches: list[Batch]) -> dict[int, bool]:
    """Return by id whether the network is right about each image."""
    found: dict[int, bool] = {}
    for image, label, ids in batches:
        found |= dict(zip(ids.tolist(), (model(image).argmax(dim=1) == label).tolist(), strict=True))
    return found


if __name__ == "__main__":
    main()
