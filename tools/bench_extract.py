"""What extraction costs beside the bare network, target ≥ 1.00 of its images/s, and whether its memory stays constant.

    OMP_NUM_THREADS=1 python tools/bench_extract.py --clock cpu
    python tools/bench_extract.py --only memory
    OMP_NUM_THREADS=1 python tools/bench_extract.py --clock cpu --only rate --network my_networks.py:resnet56 \
        --size 32 --photograph 32 32 --images 4096 --batch 64 --taps layer1.8.add layer2.8.add layer3.8.add

Rate: `Extraction`, the pass that writes the store, in its Trainer: it reads JPEGs from tar shards, decodes, resizes,
crops, taps, projects and writes. The base is the slower of its two limits: reading and decoding alone, and the
network's forward pass over the same batches, ready in memory as bytes. Fitting PCA and reading stand beside it without
a target.
Memory (Linux only): the peak of whole ``lit-knn extract`` processes over many small images and over few, target
1 ± 5 %.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import tarfile
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from bench import Line, Target, in_turn, parser, peak, report
from make_shards import add
from PIL import Image

from lit_knn.backbones import Classifier, Tap
from lit_knn.data import ImageData, Preprocessing, TarShards
from lit_knn.database import Database
from lit_knn.database.building.extraction import Extraction
from lit_knn.database.building.fitting import Fitting, MomentFiles, remove_moments
from lit_knn.distributed.partition import Partition
from lit_knn.engine.trainer import EvalTrainer

DIFFERENT = 64  # images; the others repeat them under other names


def write_shards(folder: Path, *, images: int, sides: tuple[int, int], shard_size: int) -> TarShards:
    """Write tar shards of JPEGs: noise that gets smooth, at about the bytes per pixel of a photograph."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(min(images, DIFFERENT)):
        noise = Image.fromarray(rng.integers(0, 256, (*(max(side // 8, 1) for side in sides[::-1]), 3), np.uint8))
        buffer = io.BytesIO()
        noise.resize(sides, Image.Resampling.BICUBIC).save(buffer, "jpeg", quality=90)
        encoded.append(buffer.getvalue())
    for shard, start in enumerate(range(0, images, shard_size)):
        with tarfile.open(folder / f"images-{shard:05d}.tar", "w") as tar:
            for image in range(start, min(start + shard_size, images)):
                add(tar, f"{image:08d}.jpg", encoded[image % DIFFERENT])
                add(tar, f"{image:08d}.cls", b"0")
    return TarShards(urls=str(folder / "images-*.tar"))


def rate(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Compare images per second of both passes and of reading alone with those of the bare network."""
    device = torch.device(options.device)
    source = write_shards(folder, images=options.images, sides=tuple(options.photograph), shard_size=options.shard_size)
    data = ImageData(
        queries=source,
        database=source,
        preprocessing=Preprocessing(resize=options.size * 8 // 7, crop=options.size),
        batch_size=options.batch,
        num_workers=options.workers,
    )
    classifier, bare = (Classifier(network=options.network, fold=fold).to(device) for fold in (True, False))
    database = Database(path=folder / "database", taps=[Tap(layer, pool=1) for layer in options.taps])
    shards = range(len(source.shard_names()))
    files = MomentFiles(database, classifier, data)

    def predict(module: Fitting | Extraction) -> None:
        threads = torch.get_num_threads()  # as many as the bare pass has
        trainer = EvalTrainer(
            accelerator=device.type, devices=1, logger=False, enable_progress_bar=False, threads=threads
        )
        trainer.predict(module, return_predictions=False)

    def fit() -> Fitting:
        remove_moments(database)  # what an earlier round has kept would be work that is done
        fitting = Fitting(classifier, database, data, Partition(), files.kept(Partition()))
        predict(fitting)
        return fitting

    files.seal(fit().moments, Partition())
    projections, fingerprint = database.fitted(classifier, data)

    def extract() -> None:
        predict(Extraction(classifier, database, data, projections, shards, shards, fingerprint))

    def read() -> None:
        for _ in data.database_batches(shards):
            pass

    batches = [batch["image"].to(device) for batch in data.database_batches(shards)]

    @torch.no_grad()
    def forward() -> None:
        for image in batches:
            bare(image.float() / 255)

    rates = [
        [options.images / second for second in seconds] for seconds in in_turn(options, extract, fit, read, forward)
    ]
    extraction, fitting, reading, passing = rates
    limit = list(map(min, reading, passing))
    return [
        Line("extraction / slower of reading and forward pass", "images/s", extraction, limit, Target(low=1.0)),
        Line("fitting PCA / the same", "images/s", fitting, limit),
        Line("reading alone / bare forward pass", "images/s", reading, passing),
    ]


def memory(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Compare the peak of ``lit-knn extract`` over the counts of images with that over the first one."""
    peaks = []
    for count in options.counts:
        place = folder / str(count)
        place.mkdir()
        write_shards(place, images=count, sides=(options.side, options.side), shard_size=options.shard_size)
        source = {"class_path": "TarShards", "init_args": {"urls": str(place / "images-*.tar")}}
        tap = {"layer": "layer2.1.add", "pool": 1}
        config = {
            "trainer": {"accelerator": "cpu", "default_root_dir": str(place), "enable_progress_bar": False},
            "data": {"queries": source, "database": source, "batch_size": 64, "num_workers": options.workers},
            "model": {
                "classifier": {"network": "lit_knn.backbones.digits.digits_resnet"},
                "attacks": ["PGD"],
                "deltas": [0.1],
                "database": {"path": str(place / "database"), "taps": [tap]},
            },
        }
        (place / "config.yaml").write_text(json.dumps(config))
        peaks.append(peak("extract", "--config", str(place / "config.yaml")))
    return [
        Line(f"peak for {count:,} images / for {options.counts[0]:,}", "MiB", [found], peaks[:1], Target(0.95, 1.05))
        for count, found in zip(options.counts[1:], peaks[1:], strict=True)
    ]


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--only", choices=["rate", "memory"], help="one of the two; both by default")
    options.add_argument("--workers", type=int, default=0, help="processes that read and decode")
    options.add_argument("--shard-size", type=int, default=1000, help="images per tar file")
    group = options.add_argument_group("rate")
    group.add_argument("--network", default="torchvision/resnet50", help="as model.classifier.network")
    group.add_argument("--taps", nargs="+", default=["layer1.2.add", "layer3.5.add", "layer4.0.add"])
    group.add_argument("--size", type=int, default=224, help="side of what the network sees")
    pixels = "width and height of the JPEGs; by default the median of ImageNet"
    group.add_argument("--photograph", type=int, nargs=2, default=[500, 375], help=pixels)
    group.add_argument("--images", type=int, default=512, help="so many that the examination of the network is little")
    group.add_argument("--batch", type=int, default=8, help="images at a time; PCA sees the first ones twice")
    group.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    group = options.add_argument_group("memory")
    group.add_argument("--counts", type=int, nargs="+", default=[5000, 50_000], help="images of each process")
    group.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    options = options.parse_args(args)
    lines = []
    for name, measure in (("rate", rate), ("memory", memory)):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                lines += measure(options, Path(folder))
    sizes = f"{options.images} images of {options.size} px in batches of {options.batch} ({options.device})"
    title = f"Extraction: rate of {options.network}, {sizes}; memory of digits_resnet, images of {options.side} px"
    report(f"{title}; {options.workers} workers, {options.shard_size} images a shard", lines, options)


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # what a Trainer says of itself
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    main()
