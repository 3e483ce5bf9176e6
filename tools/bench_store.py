"""What gathering rows of a store costs beside numpy.take on the same rows in memory, target ≤ 3 for complete rows.

    python tools/bench_store.py                        # 1,000,000 rows of 1,000 classes: 2 GB on disk, 2 GB in memory
    python tools/bench_store.py --rows 100000 --classes 100

Both are warm: the file is in the page cache and mapped.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from bench import Line, Target, in_turn, parser, report

from lit_knn.database.store import Schema, ShardWriter, Store, shard_name, write_manifest


def write(folder: Path, *, rows: int, shards: int, classes: int, packed: bool, block: int = 4096) -> Store:
    """Write a store of random softmax rows."""
    rng = np.random.default_rng(0)
    softmax = rng.exponential(size=(block, classes)).astype(np.float32) ** 4
    softmax /= softmax.sum(axis=1, keepdims=True)
    schema = Schema(num_classes=classes, dimensions={"tap": 1}, weights=("w",), packed=packed, key_width=1)
    for shard, ids in enumerate(np.array_split(np.arange(rows), shards)):
        path = folder / shard_name(shard)
        with ShardWriter(path, capacity=len(ids), schema=schema, fingerprint={}) as writer:
            for start in range(0, len(ids), block):
                part = ids[start : start + block]
                writer.append(
                    features={"tap": np.zeros((len(part), 1), np.float32)},
                    softmax=np.roll(softmax, start // block, axis=0)[: len(part)],
                    weights={"w": np.zeros(len(part), np.float32)},
                    ids=part,
                    label=part,
                    key=[""] * len(part),
                )
            writer.seal()
    write_manifest(folder, range(shards))
    return Store(folder)


def compare(store: Store, name: str, options: argparse.Namespace, target: Target | None) -> Line:
    """Gather from the store and from memory; other rows each time, so that none is in a cache of the CPU."""
    in_memory = store.softmax_rows(np.arange(len(store)))  # also maps the whole file
    shape = (2 * options.rounds + 2, options.queries, options.neighbors)
    ids = iter(np.random.default_rng(1).integers(0, len(store), shape))
    seconds = in_turn(options, lambda: store.softmax_rows(next(ids)), lambda: np.take(in_memory, next(ids), axis=0))
    return Line(name, "s", *seconds, target)


def main(args: list[str] | None = None) -> None:
    """Measure and print, one line for complete rows and one for packed ones."""
    options = parser(__doc__, rounds=200)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--classes", type=int, default=1000)
    options.add_argument("--queries", type=int, default=64)
    options.add_argument("--neighbors", type=int, default=50)
    options.add_argument("--shards", type=int, default=1)
    options = options.parse_args(args)
    lines = []
    for layout, target in (("complete", Target(high=3)), ("packed", None)):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            shape = {"rows": options.rows, "shards": options.shards, "classes": options.classes}
            store = write(Path(folder), **shape, packed=layout == "packed")
            lines.append(compare(store, f"store / numpy.take, {layout} rows", options, target))
    sizes = f"{options.queries} × {options.neighbors} of {options.rows:,} rows, {options.classes:,} classes"
    report(f"Gather: {sizes}", lines, options)


if __name__ == "__main__":
    main()
