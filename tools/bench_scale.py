"""FAISS files of many rows: built in parts, one of them killed, merged on disk, searched mapped (Linux only).

    OMP_NUM_THREADS=2 python tools/bench_scale.py                                        # 10 million × 256, SQ8
    OMP_NUM_THREADS=2 python tools/bench_scale.py --bits --factory BIVF4096              # the same, a bit for each

Each step of ``lit-knn index`` is a process of its own, as an array task is: train, add (one of each part; the second is
killed in the middle and starts again), merge, search. Memory is what a step holds of its own at most, beyond that of a
process which has opened the store and loaded FAISS: pages of mapped files are the system's, which takes them back when
it needs them, and are told apart. Targets: add ≤ 1.2 × its part of the index; merge and search ≤ 1.0 × the whole.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench import Line, Target, parser, report
from bench_index import K, write_store
from numpy.typing import NDArray

from lit_knn.database.index import Binary, Faiss, Index
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.database.store import Store
from lit_knn.distributed.partition import Partition

MIB = 2**20
SHARD = 1_000_000  # rows


def clusters(rows: int, dimension: int, seed: int) -> NDArray[np.float32]:
    """Return rows ``(rows, D)`` of 1,000 clusters, which are the same for every seed; see `bench_index.features`."""
    spectrum = np.arange(1, dimension + 1, dtype=np.float32) ** -0.25
    centers = np.random.default_rng(0).standard_normal((1000, dimension), np.float32)
    rng = np.random.default_rng([seed, 1])
    return (centers[rng.integers(0, 1000, rows)] + rng.standard_normal((rows, dimension), np.float32)) * spectrum


def index_of(options: argparse.Namespace) -> Index:
    """Return the index that is measured."""
    parameters: dict[str, float] = {"nprobe": options.nprobe}
    if options.bits:
        return Binary(factory=options.factory, nprobe=options.nprobe)
    return Faiss(factory=options.factory, search_parameters=parameters, device="cpu")


class Peak(threading.Thread):
    """Looks at this process's own memory, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = self.mapped = 0

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            self.look()
            time.sleep(0.01)

    def look(self) -> None:
        """Take the largest of what it was and is, in bytes."""
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        anonymous, mapped = (int(lines[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
        self.anonymous, self.mapped = max(self.anonymous, anonymous), max(self.mapped, mapped)


def step(options: argparse.Namespace) -> dict[str, float]:
    """Take one step in this process; return its seconds, and what it held beyond an opened store, in bytes."""
    store, folder, index = Store(options.work / "store"), options.work / "index", index_of(options)
    load_faiss()
    peak = Peak()
    peak.look()
    before, before_mapped = peak.anonymous, peak.mapped
    peak.start()
    start, found = time.perf_counter(), {}
    if options.step == "train":
        index.train(store, "tap", folder)
    elif options.step == "add":
        index.add(store, "tap", folder, Partition(options.part, options.parts))
    elif options.step == "merge":
        index.merge(store, "tap", folder)
    else:
        found = searched(store, index, options)
    seconds = time.perf_counter() - start
    peak.look()
    return {"seconds": seconds, "held": peak.anonymous - before, "mapped": peak.mapped - before_mapped, **found}


def searched(store: Store, index: Index, options: argparse.Namespace) -> dict[str, float]:
    """Search the merged index for rows of its own; return how many queries found themselves first, and the seconds."""
    import torch

    opened = index.open(store, "tap", options.work / "index")
    ids = np.sort(np.random.default_rng(1).choice(len(store), options.queries, replace=False))
    queries = torch.from_numpy(store.features("tap", ids).astype(np.float32))
    start = time.perf_counter()
    found = torch.cat([opened.search(batch, K).ids for batch in queries.split(64)])
    seconds = time.perf_counter() - start
    return {"itself": float((found == torch.from_numpy(ids)[:, None]).any(dim=1).float().mean()), "searching": seconds}


def launch(options: argparse.Namespace, name: str, part: int = 0, kill_after: float | None = None) -> dict[str, float]:
    """Take a step in a process of its own.

    Args:
        options: Of all.
        name: Of the step.
        part: Of it.
        kill_after: Seconds after which it is killed; None lets it end.
    """
    own = [f"--{key}={getattr(options, key)}" for key in ("factory", "rows", "parts", "nprobe", "queries", "work")]
    own += ["--bits"] if options.bits else []
    command = [sys.executable, __file__, f"--step={name}", f"--part={part}", *own]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said, _ = child.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        return {}
    if child.returncode:
        sys.exit(f"{name} ended with code {child.returncode}")
    told: dict[str, float] = json.loads(said.splitlines()[-1])
    print(f"{name} {part or ''}: {told['seconds']:.0f} s, held {told['held'] / MIB:,.0f} MiB", file=sys.stderr)
    return told


def measured(options: argparse.Namespace) -> list[Line]:
    """Return all lines."""

    def block(first: int, last: int) -> NDArray[np.float32]:
        return clusters(last - first, options.dimension, first)

    start = time.perf_counter()
    shape = options.rows, options.dimension
    write_store(options.work / "store", *shape, block, shard_rows=SHARD, bits=options.bits)
    print(f"store: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    train, adds = launch(options, "train"), [launch(options, "add", 1)]
    if launch(options, "add", 2, kill_after=adds[0]["seconds"] / 2 + options.starting):
        sys.exit("the second part was done before it could be killed: take more rows")
    adds += [launch(options, "add", part) for part in range(2, options.parts + 1)]
    folder = options.work / "index"
    sizes = [float(path.stat().st_size) for path in sorted(folder.glob("part-*.faiss"))]
    merge = launch(options, "merge")
    whole = float(sum(path.stat().st_size for path in folder.glob("merged-*") if path.suffix != ".json"))
    search = launch(options, "search")
    if (lost := 1 - search["itself"]) > options.lost:
        sys.exit(f"{lost:.1%} of the rows do not find themselves: rows were lost")
    held = [[one["held"] for one in adds], [merge["held"]], [search["held"]], [search["mapped"]]]
    return [
        Line("add, memory / its part", "bytes", held[0], sizes, Target(high=1.2)),
        Line("merge, memory / the whole", "bytes", held[1], [whole], Target(high=1.0)),
        Line("search, memory / the whole", "bytes", held[2], [whole], Target(high=1.0)),
        Line("search, pages of the file / the whole", "bytes", held[3], [whole]),
        Line("train / add of a part", "s", [train["seconds"]], [adds[0]["seconds"]]),
        Line("merge / add of all parts", "s", [merge["seconds"]], [sum(one["seconds"] for one in adds)]),
        Line("search / add of all parts", "s", [search["searching"]], [sum(one["seconds"] for one in adds)]),
    ]


def main(args: list[str] | None = None) -> None:
    """Measure and print, or take one step."""
    options: Any = parser(__doc__, rounds=1)
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--factory", default="IVF4096,SQ8", help="of FAISS")
    options.add_argument("--bits", action="store_true", help="signs instead of numbers; --factory is of bits then")
    options.add_argument("--parts", type=int, default=10, help="array tasks of add")
    options.add_argument("--nprobe", type=int, default=16, help="lists that a query reads")
    options.add_argument("--queries", type=int, default=640)
    options.add_argument("--lost", type=float, default=0.05, help="share of queries that may not find themselves")
    options.add_argument("--starting", type=float, default=5.0, help="seconds that a process takes to start")
    options.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--step", choices=["train", "add", "merge", "search"], help=argparse.SUPPRESS)
    options.add_argument("--part", type=int, default=0, help=argparse.SUPPRESS)
    options = options.parse_args(args)
    if options.step:
        print(json.dumps(step(options)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.work = Path(folder)
        lines = measured(options)
    report(f"{options.rows:,} × {options.dimension} in {options.parts} parts: {options.factory}", lines, options)


if __name__ == "__main__":
    sys.exit(main())
