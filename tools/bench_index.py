"""What an index saves beside exact search, and what it takes.

    python tools/bench_index.py --only speed     # IVF / Flat at recall@50 ≥ 0.95, target ≥ 20 ×; bytes of a binary row
    python tools/bench_index.py --only resident  # Resident / Flat ≤ 0.45; half of the rows / all ≤ 0.6; memory ≤ 1.1
    python tools/bench_index.py --only codes     # recall of each code, where every list is read

Rows are synthetic: clusters with a power-law spectrum, so that recalls rank methods and predict nothing; with
``--store`` those of a real store, as ``--only codes`` wants for the recalls that `lit_knn.database.index.plan` tells.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import Line, Target, in_turn, parser, report
from numpy.typing import NDArray

from lit_knn.database.index import Binary, Faiss, Index, OpenIndex, Resident, Scan, Selection
from lit_knn.database.index.earlier import merged_path
from lit_knn.database.index.plan import CODES
from lit_knn.database.index.recall import Truth
from lit_knn.database.store import Schema, ShardWriter, Store, shard_name, write_manifest

K = 50
BLOCK = 65_536


def features(rows: int, dimension: int) -> NDArray[np.float32]:
    """Return rows ``(rows, D)`` in 1,000 clusters, with variances falling like i^−0.5."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, dimension + 1, dtype=np.float32) ** -0.25
    centers = rng.standard_normal((1000, dimension), np.float32)
    found = np.empty((rows, dimension), np.float32)
    for start in range(0, rows, BLOCK):
        part = found[start : start + BLOCK]
        part[:] = centers[rng.integers(0, 1000, len(part))] + rng.standard_normal(part.shape, np.float32)
        part *= spectrum
    return found


def write_store(
    folder: Path,
    rows: int,
    dimension: int,
    block: Callable[[int, int], NDArray[np.float32]],
    *,
    shard_rows: int | None = None,
    bits: bool = False,
) -> Store:
    """Write a store of one tap, "tap", and return it.

    Args:
        folder: To write into.
        rows: How many.
        dimension: Of each.
        block: Returns the rows from one number up to another, or anything with their signs where it is of bits.
        shard_rows: Of each shard; all of them by default.
        bits: Store signs.
    """
    kept = ("tap",) if bits else ()
    schema = Schema(num_classes=2, dimensions={"tap": dimension}, weights=(), packed=False, key_width=1, bits=kept)
    starts = range(0, rows, shard_rows or rows)
    for shard, start in enumerate(starts):
        stop = min(rows, start + starts.step)
        with ShardWriter(folder / shard_name(shard), capacity=stop - start, schema=schema, fingerprint={}) as writer:
            for first in range(start, stop, BLOCK):
                part = block(first, last := min(stop, first + BLOCK))
                writer.append(
                    features={"tap": np.where(part > 0, 1, -1).astype(np.float32) if bits else part},
                    softmax=np.full((len(part), 2), 0.5, np.float32),
                    weights={},
                    ids=np.arange(first, last),
                    label=np.zeros(len(part), np.int64),
                    key=[""] * len(part),
                )
            writer.seal()
    write_manifest(folder, range(len(starts)))
    return Store(folder)


def store_of(folder: Path, rows: NDArray[np.float32], *, bits: bool = False) -> Store:
    """Write a store that has these rows, or their signs, and return it."""
    return write_store(folder, *rows.shape, lambda start, stop: rows[start:stop], bits=bits)


def tuned(index: Index, store: Store, folder: Path, truth: Truth) -> tuple[Index, float]:
    """Build an index, let it choose how much it reads, open it, and measure its recall."""
    index.build(store, "tap", folder)
    index.tune(store, "tap", folder, truth.recall)
    opened = index.open(store, "tap", folder)
    return opened, truth.recall(opened)


def speed(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Compare the queries per second of searches with those of Flat."""
    rows = features(options.rows + options.queries, options.dimension)
    queries, store = torch.from_numpy(rows[options.rows :]), store_of(folder / "floats", rows[: options.rows])
    truth = Truth(store, "tap", K)
    flat = Faiss(device=options.device)
    flat.build(store, "tap", folder / "flat")
    ivf, recall = tuned(
        Faiss(factory="auto", memory_gb=options.memory_gb, device=options.device), store, folder / "ivf", truth
    )
    opened = {
        "Flat": flat.open(store, "tap", folder / "flat"),
        "auto": ivf,
        "Scan": Scan(device=options.device).open(store, "tap", folder),
    }

    def search(index: Index) -> Callable[[], object]:
        return lambda: [index.search(part, K) for part in queries.split(options.batch)]

    taken = in_turn(options, *map(search, opened.values()))
    rates = {name: [len(queries) / second for second in seconds] for name, seconds in zip(opened, taken, strict=True)}
    lines = [
        Line(f"IVF at recall {recall:.3f} / Flat", "queries/s", rates["auto"], rates["Flat"], Target(low=20)),
        Line("Scan of the store / Flat", "queries/s", rates["Scan"], rates["Flat"]),
    ]
    bits = store_of(folder / "bits", rows[: options.rows], bits=True)
    for factory in options.binary:
        Binary(factory=factory).build(bits, "tap", folder / factory)
        size = merged_path(folder / factory, 1).stat().st_size / options.rows
        lines.append(
            Line(f"{factory} / code and id", "bytes/row", [size], [options.dimension / 8 + 8], Target(high=1.0))
        )
    return lines


def resident(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Compare the seconds of exact searches in memory with those of Flat, and the memory with that of the features."""
    rows = features(options.rows + options.queries, options.dimension)
    queries, store = torch.from_numpy(rows[options.rows :].copy()), store_of(folder / "floats", rows[: options.rows])
    del rows
    flat = Faiss(device=options.device)
    flat.build(store, "tap", folder / "flat")
    found, before = flat.open(store, "tap", folder / "flat"), _anonymous()
    held = Resident(device=options.device).open(store, "tap", folder)
    half = Selection.of(np.random.default_rng(0).permutation(options.rows)[: options.rows // 2], options.rows)
    held.search(queries[: options.batch], K, half)
    taken = _anonymous() - before

    def search(index: OpenIndex, among: Selection | None = None) -> Callable[[], object]:
        return lambda: [index.search(part, K, among) for part in queries.split(options.batch)]

    base, every, part = in_turn(options, search(found), search(held), search(held, half))
    size = options.rows * options.dimension * 2 / 2**20
    return [
        Line("Resident / Flat", "s", every, base, Target(high=0.45)),
        Line("half of the rows / all", "s", part, every, Target(high=0.6)),
        Line("memory of its own / float16 features", "MiB", [taken], [size], Target(high=1.1)),
    ]


def _anonymous() -> float:
    """Return the memory of this process in MiB that is no file's (Linux only)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def codes(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Compare what each code finds, where all lists are read, with exact search."""
    if options.store:
        store = Store(options.store)
        taps = list(store.schema.dimensions)
    else:
        store, taps = store_of(folder / "floats", features(options.rows, options.dimension)), ["tap"]
    lines = []
    for tap in taps:
        truth = Truth(store, tap, K)
        for code in CODES:
            index = Faiss(factory=f"IVF256,{code.factory}", search_parameters={"nprobe": 256}, device="cpu")
            index.build(store, tap, folder / tap / code.factory)
            recall = truth.recall(index.open(store, tap, folder / tap / code.factory))
            lines.append(Line(f"{tap}: {code.factory} / exact", "recall@50", [recall], [1.0]))
    return lines


MEASURES: dict[str, Callable[[argparse.Namespace, Path], list[Line]]] = {
    "speed": speed,
    "resident": resident,
    "codes": codes,
}


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options: Any = parser(__doc__, rounds=5)
    options.add_argument("--only", choices=MEASURES, default="speed")
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--queries", type=int, default=640)
    options.add_argument("--batch", type=int, default=64, help="queries at a time")
    options.add_argument("--memory-gb", type=float, default=2.0, help="of the index that is chosen")
    options.add_argument("--binary", nargs="+", default=["BFlat", "BIVF1024"], help="FAISS's names of binary indexes")
    options.add_argument("--store", type=Path, help="for codes: a real store")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    options = options.parse_args(args)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        lines = MEASURES[options.only](options, Path(folder))
    rows = options.store or f"{options.rows:,} × {options.dimension}"
    report(
        f"Index ({options.only}): {rows}, K = {K}, {options.queries} queries by {options.batch}, {options.device}",
        lines,
        options,
    )


if __name__ == "__main__":
    sys.exit(main())
