"""Time gathering rows of a store against numpy.take on the same rows in memory, side by side in one run.

    python tools/bench_store.py                        # 1,000,000 rows of 1,000 classes: 2 GB on disk, 2 GB in memory
    python tools/bench_store.py --rows 100000 --classes 100

Both are warm: the file is in the page cache and mapped. Every gather takes other rows. The target for complete rows
is a ratio of 3 or less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from lit_knn.store import Schema, ShardWriter, Store, shard_name, write_manifest

TARGET = 3.0


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
                    id=part,
                    label=part,
                    key=[""] * len(part),
                )
            writer.seal()
    write_manifest(folder, range(shards))
    return Store(folder)


def compare(store: Store, *, queries: int, neighbors: int, repeats: int) -> tuple[float, float, float]:
    """Return median milliseconds of the store and of memory, and the median of their paired ratios."""
    in_memory = store.softmax_rows(np.arange(len(store)))  # also maps the whole file
    rng = np.random.default_rng(1)
    times = np.empty((repeats, 2))
    for pair in times:
        for side, gather in enumerate((store.softmax_rows, lambda ids: np.take(in_memory, ids, axis=0))):
            ids = rng.integers(0, len(store), (queries, neighbors))  # other rows for each: none is in a CPU cache
            start = time.perf_counter()
            gather(ids)
            pair[side] = time.perf_counter() - start
    from_store, from_memory = np.median(times, axis=0) * 1e3
    return from_store, from_memory, float(np.median(times[:, 0] / times[:, 1]))


def main() -> None:
    """Print one line for complete rows and one for packed ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--neighbors", type=int, default=50)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where to put the temporary files; the system's choice by default")
    options = parser.parse_args()
    print(f"gather {options.queries} × {options.neighbors} of {options.rows:,} rows, {options.classes:,} classes")
    for layout in ("dense", "packed"):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            shape = {"rows": options.rows, "shards": options.shards, "classes": options.classes}
            store = write(Path(folder), **shape, packed=layout == "packed")
            sizes = {"queries": options.queries, "neighbors": options.neighbors, "repeats": options.repeats}
            from_store, from_memory, ratio = compare(store, **sizes)
        target = f"  (target ≤ {TARGET:.0f})" if layout == "dense" else ""
        print(f"{layout:7} store {from_store:6.2f} ms   numpy.take {from_memory:6.2f} ms   ratio {ratio:5.2f}{target}")


if __name__ == "__main__":
    main()
