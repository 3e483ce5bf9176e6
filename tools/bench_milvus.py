"""What a Milvus server costs beside FAISS in this process, and what a view of half of the rows costs beside all.

    python tools/bench_milvus.py --uri http://localhost:19530

Both have the same rows, number of lists and of lists read: search ≤ 1.5 × FAISS, a view ≤ 1.1 × all rows, rows added
≥ 0.5 × as fast. Its collections, which start with ``bench``, are dropped again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from bench import Line, Target, in_turn, parser, report
from bench_index import K, features, store_of

from lit_knn.database.index import Faiss, Index, Milvus, OpenIndex, Selection
from lit_knn.database.index.faiss_library import load_faiss
from lit_knn.database.index.recall import Truth
from lit_knn.database.random_order import RandomOrder
from lit_knn.distributed.partition import WHOLE


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print one table."""
    flags = parser(__doc__, rounds=7)
    flags.add_argument("--uri", default="http://localhost:19530")
    flags.add_argument("--rows", type=int, default=50_000)
    flags.add_argument("--dimension", type=int, default=256)
    flags.add_argument("--lists", type=int, default=256)
    flags.add_argument("--probes", type=int, default=16, help="lists that are read")
    flags.add_argument("--queries", type=int, default=1024)
    flags.add_argument("--batch", type=int, default=256)
    flags.add_argument("--additions", type=int, default=3, help="how often all rows are added, after once to warm up")
    options = flags.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report("Milvus", measured(options, Path(folder)), options)


def measured(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Return the lines."""
    rows = features(options.rows + options.queries, options.dimension)
    queries, store = torch.from_numpy(rows[options.rows :].copy()), store_of(folder, rows[: options.rows])
    del rows
    probes = {"nprobe": options.probes}
    faiss = Faiss(factory=f"IVF{options.lists},Flat", search_parameters=probes, device="cpu")
    prefix = f"bench_{time.time_ns()}"

    def milvus(name: str) -> Milvus:
        lists = {"nlist": options.lists}
        return Milvus(
            uri=options.uri,
            collection=f"{prefix}_{name}",
            index_type="IVF_FLAT",
            index_parameters=lists,
            search_parameters=probes,
        )

    def added(index: Index, at: Path) -> float:
        index.train(store, "tap", at)
        start = time.perf_counter()
        index.add(store, "tap", at, WHOLE)
        return time.perf_counter() - start

    try:
        opened: list[OpenIndex] = []
        for index in (milvus("search"), faiss):
            index.build(store, "tap", folder / type(index).__name__)
            opened.append(index.open(store, "tap", folder / type(index).__name__))
        truth = Truth(store, "tap", K)
        recalls = " and ".join(f"{truth.recall(index):.3f}" for index in opened)
        half, tenth = RandomOrder(options.rows, 0).selections([(0, options.rows // 2), (0, options.rows // 10)])

        def search(index: OpenIndex, among: Selection | None = None) -> Callable[[], object]:
            return lambda: [index.search(part, K, among) for part in queries.split(options.batch)]

        server, library = opened
        alone = on_one_thread(search(library))
        runs = (search(server), search(library), alone, search(server, half), search(server, tenth))
        whole, base, single, of_half, of_tenth = in_turn(options, *runs)
        pairs = [
            (added(milvus(f"add{turn}"), folder / f"milvus-{turn}"), added(faiss, folder / f"faiss-{turn}"))
            for turn in range(options.additions + 1)
        ][1:]
        ours, theirs = ([options.rows / one for one in seconds] for seconds in zip(*pairs, strict=True))
    finally:
        with milvus("any")._connect() as server:
            for name in server.client.list_collections():
                if name.startswith(prefix):
                    server.client.drop_collection(name)
    return [
        Line(f"Milvus IVF / FAISS IVF, recalls {recalls}", "s", whole, base, Target(high=1.5)),
        Line("the same / FAISS IVF on one thread", "s", whole, single),
        Line("Milvus, half of the rows / all", "s", of_half, whole, Target(high=1.1)),
        Line("Milvus, a tenth of the rows / all", "s", of_tenth, whole, Target(high=1.1)),
        Line("rows added to Milvus / to FAISS", "rows/s", ours, theirs, Target(low=0.5)),
    ]


def on_one_thread(run: Callable[[], object]) -> Callable[[], None]:
    """Return the same, with FAISS on one thread: as where each process of a machine has one."""
    faiss = load_faiss()

    def alone() -> None:
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        run()
        faiss.omp_set_num_threads(threads)

    return alone


if __name__ == "__main__":
    main()
