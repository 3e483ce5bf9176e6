"""What the kNN defense costs beside the bare search of the same queries, target ≤ 1.1.

    OMP_NUM_THREADS=1 python tools/bench_defense.py --clock cpu

The defense is one call: search, gather of softmax and weights, and the vote of 3 weightings × 2 combinations × 3 values
of K. The base is the search alone, for the largest K: once with what makes it exact, so that the rest is the vote, and
once by an index that FAISS reads from the same file, which rounds distances and breaks ties as it likes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from bench import Line, Target, in_turn, parser, report
from torch import Tensor

from lit_knn.backbones import Tap
from lit_knn.data import Digits, ImageData
from lit_knn.database import Database, StoredGallery
from lit_knn.database.index import Faiss
from lit_knn.database.index.earlier import merged_path
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.database.index.gpu import to_gpu
from lit_knn.database.store import Schema, ShardWriter, Store, stored_weights, write_manifest
from lit_knn.defenses import KNN, Query


class FeatureQuery(Query):
    """A query of which the features are known: no network runs."""

    def features(self, tap: str) -> Tensor:
        """Return what was given instead of an image."""
        return self.image


def build(database: Database, *, rows: int, dimension: int, classes: int) -> StoredGallery:
    """Write a sealed store of random features and predictions and its index, and open both."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(rows, dimension, generator=generator)
    softmax = (4 * torch.randn(rows, classes, generator=generator)).softmax(dim=-1)
    weights = stored_weights(softmax)
    packed = database.packs(classes)
    schema = Schema(
        num_classes=classes, dimensions={"tap": dimension}, weights=tuple(weights), packed=packed, key_width=8
    )
    with ShardWriter(database.shard_path(0), capacity=rows, schema=schema, fingerprint={}) as writer:
        writer.append(
            features={"tap": features.numpy()},
            softmax=softmax.numpy(),
            weights={name: weight.numpy() for name, weight in weights.items()},
            ids=np.arange(rows),
            label=np.zeros(rows, np.int64),
            key=[str(row) for row in range(rows)],
        )
        writer.seal()
    write_manifest(database.store_path, [0])
    database.index.build(Store(database.store_path), "tap", database.index_path("tap"))
    with mock.patch.object(Database, "fitted", return_value=({}, {})):  # no images, no network, no projections
        return database.open(None, ImageData(queries=Digits(split="test"), database=Digits(split="train")))[-1]


def compare(folder: Path, classes: int, options: argparse.Namespace) -> list[Line]:
    """Return the lines of one number of classes."""
    cuda = options.device == "cuda"
    index = Faiss(factory=options.factory, device="auto" if cuda else "cpu")
    database = Database(path=folder, taps=[Tap("tap")], index=index)
    gallery = build(database, rows=options.rows, dimension=options.dimension, classes=classes)
    faiss = load_faiss()
    bare = faiss.read_index(str(merged_path(database.index_path("tap"), 1)))
    if cuda and faiss.get_num_gpus():
        bare = to_gpu(bare, float16=False, temp_memory_mb=None, mode="replicate")
    defense = KNN(taps=["tap"], k=options.k, combinations=["soft", "hard"])
    array = np.random.default_rng(1).standard_normal((options.batch, options.dimension), np.float32)
    features = torch.from_numpy(array).to(options.device)

    def defend() -> Tensor:
        return defense(FeatureQuery(features, None, gallery, defense.needed))

    def search() -> object:
        return gallery.search("tap", features, max(options.k))

    def search_alone() -> object:
        return bare.search(array, max(options.k))

    kind = f"{classes:,} classes, {'packed' if database.packs(classes) else 'complete'}"
    taken, found, alone = in_turn(options, defend, search, search_alone)
    return [
        Line(f"kNN defense / search, {kind}", "s", taken, found, Target(high=1.1)),
        Line(f"kNN defense / FAISS's search, {kind}", "s", taken, alone, Target(high=1.1)),
    ]


def main(args: list[str] | None = None) -> None:
    """Measure and print, two lines for each number of classes."""
    options = parser(__doc__, rounds=50)
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--classes", type=int, nargs="+", default=[10, 1000], help="complete rows to 64, then packed")
    options.add_argument("--batch", type=int, default=64, help="queries at a time")
    options.add_argument("--k", type=int, nargs="+", default=[10, 20, 50])
    options.add_argument("--factory", default="Flat", help="FAISS's name of the index")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options = options.parse_args(args)
    lines = []
    for classes in options.classes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            lines += compare(Path(folder), classes, options)
    sizes = f"{options.batch} queries, {options.rows:,} × {options.dimension}, {options.factory}, K = {options.k}"
    report(f"Defense: {6 * len(options.k)} variants; {sizes}; {options.device}", lines, options)


if __name__ == "__main__":
    main()
