"""What one more shard of a crawl costs, extracted and added to the index, over building all, target ≤ 3 % for 100.

    OMP_NUM_THREADS=1 python tools/bench_grow.py --clock cpu

A folder of tar shards is extracted and indexed (PCA, store, index), then the last shard comes and both commands run
again. Imports and loading the network are on neither side: a folder of one shard goes first.

The smaller the network, the more count the headers of all shards, which are read three times, and the check of the
index: with the digits' network (``--network lit_knn.backbones.digits.digits_resnet --taps layer2.1.add layer3.1.add
--side 16 --shard-size 1000``) it is .037.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import warnings
from functools import partial
from pathlib import Path

import torch
from bench import CLOCKS, Line, Target, parser, report, timed
from bench_extract import write_shards

from lit_knn.attacks import FGSM
from lit_knn.backbones import Classifier, Tap
from lit_knn.data import ImageData, TarShards
from lit_knn.database import Database
from lit_knn.database.index import Faiss
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.evaluation.module import Evaluation


def measured(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Compare the seconds of one more shard with those of all others."""
    classifier = Classifier(network=options.network)
    counts = [1, *[options.shards] * options.rounds]
    rounds = [seconds(options, folder / str(turn), count, classifier) for turn, count in enumerate(counts)]
    extracted, indexed, more, added = map(list, zip(*rounds[1:], strict=True))
    whole, one = ([sum(pair) for pair in zip(*pairs, strict=True)] for pairs in ((extracted, indexed), (more, added)))
    return [
        Line(f"one more shard / {options.shards} shards", "s", one, whole, Target(high=0.03)),
        Line("extracting it / them", "s", more, extracted),
        Line("adding it to the index / indexing them", "s", added, indexed),
    ]


def seconds(options: argparse.Namespace, folder: Path, shards: int, classifier: Classifier) -> list[float]:
    """Return those of extracting and indexing so many shards, and of the same commands after one more has come."""
    crawl, sides, size = folder / "crawl", (options.side, options.side), options.shard_size
    crawl.mkdir(parents=True)
    write_shards(crawl, images=(shards + 1) * size, sides=sides, shard_size=size)
    last = max(crawl.iterdir())
    last.rename(folder / last.name)
    taps, index = [Tap(layer, pool=1) for layer in options.taps], Faiss(factory=options.index, device="cpu")
    database = Database(path=folder / "database", taps=taps, index=index)
    evaluation = Evaluation(classifier=classifier, attacks=[FGSM()], deltas=[0.1], database=database)

    def run(command: str) -> None:
        source = TarShards(urls=str(crawl / "*.tar"))
        data = ImageData(queries=source, database=source, batch_size=options.batch, allow_overlap=True)
        trainer = EvalTrainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_progress_bar=False,
            default_root_dir=folder,
            threads=torch.get_num_threads(),
        )
        getattr(trainer, command)(evaluation, data)

    clock, commands = CLOCKS[options.clock], ("extract", "index")
    taken = [timed(partial(run, command), clock) for command in commands]
    (folder / last.name).rename(last)
    taken += [timed(partial(run, command), clock) for command in commands]
    shutil.rmtree(folder)
    return taken


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--shards", type=int, default=100, help="that there are before the last one comes")
    options.add_argument("--shard-size", type=int, default=300, help="images per tar file; img2dataset writes 10,000")
    options.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    options.add_argument("--network", default="torchvision/resnet18", help="as model.classifier.network")
    options.add_argument("--taps", nargs="+", default=["layer3", "layer4"])
    options.add_argument("--index", default="IVF256,Flat", help="FAISS's name of it")
    options.add_argument("--batch", type=int, default=50, help="images at a time")
    options = options.parse_args(args)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        lines = measured(options, Path(folder))
    images = f"{options.shard_size} images of {options.side} px a shard"
    report(f"A crawl that goes on: {options.network}, {images}, index {options.index}", lines, options)


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # what a Trainer says of itself
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    main()
