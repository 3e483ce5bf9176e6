"""What answers by neighbors that another network finds cost beside both networks' forward passes, target ≤ 1.1.

    OMP_NUM_THREADS=1 python tools/bench_second.py --clock cpu

One call gives what a test keeps of a batch and scores: the classifier's logits, and a kNN answer by the features of a
second network, from pooling and PCA over the exact search of 50,000 rows to the vote of 3 weightings. The base is a
forward pass of each of the two, first as they are asked here (BatchNorm folded) and then as they were built. An answer
without logits, which white boxes and images kept ask for, needs no pass of the classifier.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from bench import Line, Target, in_turn, parser, report
from bench_defense import build
from torch import Tensor

from lit_knn.backbones import Classifier, Projection, Tap
from lit_knn.database import Database
from lit_knn.database.index import Faiss
from lit_knn.defenses import KNN, Query


def encoder_of(name: str, size: int) -> Classifier:
    """Return a network without a head, with random weights, for images of any size; those of timm end in a vector."""
    arguments = {"num_classes": 0, "img_size": size} if "vit" in name else {}
    return Classifier(network=name, arguments=arguments, input_size=size)


def main(args: list[str] | None = None) -> None:
    """Measure and print, one line for each base."""
    options = parser(__doc__, rounds=10)
    options.add_argument("--network", default="torchvision/resnet50", help="the classifier")
    options.add_argument("--second", default="timm/vit_small_patch14_dinov2", help="the network that retrieves")
    options.add_argument("--tap", default="norm", help="of the second network")
    options.add_argument("--pool", default="cls", help="of the tap")
    options.add_argument("--size", type=int, default=224, help="of the images, in pixels")
    options.add_argument("--batch", type=int, default=16, help="images at a time")
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--k", type=int, default=50)
    options = options.parse_args(args)
    pool = int(options.pool) if options.pool.isdecimal() else options.pool
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tap = Tap(options.tap, pool=pool, metric="cosine", dimension=options.dimension, name="tap")
    classifier, second = Classifier(network=options.network), encoder_of(options.second, options.size)
    image = torch.rand(options.batch, 3, options.size, options.size, generator=torch.Generator().manual_seed(0))
    classifier, second, image = classifier.to(device), second.to(device), image.to(device)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, torch.no_grad():
        index = Faiss(factory="Flat", device="auto" if device.type == "cuda" else "cpu")
        database = Database(path=Path(folder), taps=[tap], index=index, network=second)
        classifier.examine(image)
        second.examine(image, [tap])
        length = second.activations(image, [tap])["tap"].shape[1]
        components = torch.linalg.qr(torch.randn(length, min(options.dimension, length))).Q.T.contiguous()
        projection = Projection(torch.zeros(length), components, torch.ones(len(components)), options.rows)
        stored = build(database, rows=options.rows, dimension=len(components), classes=1000)
        gallery = replace(stored, projections={"tap": projection}, network=second)
        defense = KNN(taps=["tap"], k=[options.k])

        def answer() -> tuple[Tensor, Tensor]:
            query = Query(image, classifier, gallery, defense.needed)
            return query.logits, defense(query)

        def neighbors() -> Tensor:
            return defense(Query(image, classifier, gallery, defense.needed))

        def passes() -> tuple[Tensor, Tensor]:
            return classifier(image), second(image)

        def built() -> tuple[Tensor, Tensor]:
            return classifier.network(classifier.normalize(image)), second.network(second.normalize(image))

        def pass_of_second() -> Tensor:
            return second(image)

        both, alone, asked, bare, one = in_turn(options, answer, neighbors, passes, built, pass_of_second)
    lines = [
        Line("logits and kNN by a second network / passes of both", "s", both, asked, Target(high=1.1)),
        Line("the same / passes of both as they were built", "s", both, bare, Target(high=1.1)),
        Line("kNN by a second network / pass of that", "s", alone, one, Target(high=1.1)),
    ]
    names = " and ".join(name.rpartition("/")[2] for name in (options.network, options.second))
    sizes = f"{options.batch} images of {options.size} px, {options.rows:,} × {len(components)}, K = {options.k}"
    report(f"Second network: {names}; {sizes}; {device.type}", lines, options)


if __name__ == "__main__":
    main()
