"""What a search over several processes costs: time beside one process, bytes on the wire, one slow process, one lost.

    OMP_NUM_THREADS=1 python tools/bench_sharded.py

- Two processes / one with two threads: seconds, target ≤ 1.15, the same machine shared out in two ways.
- So many processes / one: CPU seconds of all together; each searches its part for everybody, so that nothing is saved.
- On the wire: bytes counted in the calls of torch.distributed / the arithmetic of `tools/arithmetic.py`, target 1.00.
- The slowest of 64: what 64 processes would wait for in a round / what one takes, from how the rounds of one differ.
- One is slow: seconds of a round in which one process waits as long as a round takes / those without.
- One is lost: seconds from SIGKILL of one process of ``lit-knn test`` to the end of the others, against a minute.

Rows are synthetic, as in `bench_index.py`, and lie in one part for each of four processes.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from arithmetic import wire_bytes
from bench import Line, Target, parser, report
from bench_index import K, features, store_of

from lit_knn.database.index import Faiss, OpenIndex, Sharded
from lit_knn.database.store import Store

PARTS = 4
PROCESSES = (1, 2, 4)
ROUND = """
model:
  database:
    path: {folder}/database
    index: {{class_path: Sharded, init_args: {{index: {{class_path: Faiss, init_args: {{device: cpu}}}}, parts: 4}}}}
trainer: {{default_root_dir: {folder}, run: lost, devices: 4, strategy: ddp}}
"""
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
MINUTE = 60.0
MACHINES = 64


class Wire:
    """Counts the bytes of tensors that this process sends through torch.distributed, once for each receiver."""

    def __init__(self) -> None:
        self.sent = 0
        self._calls = dist.broadcast, dist.gather, dist.all_gather

    def __enter__(self) -> Self:
        broadcast, gather, all_gather = self._calls
        rank, others = dist.get_rank(), dist.get_world_size() - 1

        def counted_broadcast(tensor: torch.Tensor, src: int, **kwargs: Any) -> object:
            self.sent += (rank == src) * others * tensor.nbytes
            return broadcast(tensor, src, **kwargs)

        def counted_gather(tensor: torch.Tensor, *args: Any, dst: int, **kwargs: Any) -> object:
            self.sent += (rank != dst) * tensor.nbytes
            return gather(tensor, *args, dst=dst, **kwargs)

        def counted_all_gather(tensors: list[torch.Tensor], tensor: torch.Tensor, **kwargs: Any) -> object:
            self.sent += others * tensor.nbytes
            return all_gather(tensors, tensor, **kwargs)

        dist.broadcast, dist.gather, dist.all_gather = counted_broadcast, counted_gather, counted_all_gather
        return self

    def __exit__(self, *_: object) -> None:
        dist.broadcast, dist.gather, dist.all_gather = self._calls


def search(rank: int, processes: int, threads: int, slow: float, port: int, folder: Path, batch: int) -> None:
    """Search the batches of this process, as a test does, and write seconds, CPU seconds and bytes sent.

    Args:
        rank: Of this process.
        processes: How many there are.
        threads: Of each.
        slow: Seconds that the last process waits in each round.
        port: Where the first one listens.
        folder: Of store, index and queries.
        batch: Queries at a time.
    """
    import faiss

    faiss.omp_set_num_threads(threads)
    method, patience = f"tcp://127.0.0.1:{port}", timedelta(minutes=10)
    dist.init_process_group("gloo", init_method=method, rank=rank, world_size=processes, timeout=patience)
    index = Sharded(index=Faiss(device="cpu"), parts=PARTS).open(Store(folder / "floats"), "tap", folder / "index")
    batches = torch.from_numpy(np.load(folder / "queries.npy")).split(batch)[rank::processes]
    index.search(batches[0], K)  # the pages of the file
    dist.barrier()
    start, started = time.perf_counter(), time.process_time()
    with Wire() as wire:
        rounds = _ask(index, batches, slow if rank == processes - 1 else 0.0)
    dist.barrier()
    told = time.perf_counter() - start, time.process_time() - started, wire.sent, *rounds
    np.save(folder / f"told-{rank}.npy", np.array(told))
    dist.destroy_process_group()


def _ask(index: OpenIndex, batches: tuple[torch.Tensor, ...], slow: float) -> list[float]:
    """Return the seconds of each round."""
    rounds = []
    for queries in batches:
        start = time.perf_counter()
        time.sleep(slow)
        index.search(queries, K)
        rounds.append(time.perf_counter() - start)
    index.finish()
    return rounds


def run(processes: int, threads: int, folder: Path, batch: int, slow: float = 0.0) -> np.ndarray:
    """Return seconds, CPU seconds, bytes sent and the seconds of each round, of each process, ``(P, 3 + rounds)``."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(search, (processes, threads, slow, port, folder, batch), nprocs=processes)
    return np.array([np.load(folder / f"told-{rank}.npy") for rank in range(processes)])


def lost(folder: Path) -> float:
    """Return the seconds from the end of one of four processes of a test to that of the others.

    Raises:
        SystemExit: If the others end otherwise than with code 1 and the name of the one that was killed.
    """
    overlay = folder / "lost.yaml"
    overlay.write_text(ROUND.format(folder=folder))
    command = [sys.executable, "-m", "lit_knn", "test", f"--config={CONFIG}", f"--config={overlay}"]
    test = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    results = folder / "lost" / "activations"
    while not any(results.rglob("*.h5")):  # it has come to its first batch
        if test.poll() is not None:
            sys.exit(test.communicate()[0])
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(test.pid)], capture_output=True, check=True, text=True).stdout.split()
    victim = next(int(child) for child in children if b"LOCAL_RANK=3" in Path(f"/proc/{child}/environ").read_bytes())
    os.kill(victim, signal.SIGKILL)
    start = time.perf_counter()
    said = test.communicate()[0]
    if not test.returncode or "was killed by SIGKILL" not in said:
        sys.exit(f"the others ended with code {test.returncode}:\n{said}")
    return time.perf_counter() - start


def measured(options: argparse.Namespace, folder: Path) -> list[Line]:
    """Return all lines."""
    rows = features(options.rows + options.queries, options.dimension)
    store = store_of(folder / "floats", rows[: options.rows])
    Sharded(index=Faiss(device="cpu"), parts=PARTS).build(store, "tap", folder / "index")
    np.save(folder / "queries.npy", rows[options.rows :])
    del rows, store
    wall: dict[str, list[float]] = {}
    cpu: dict[int, list[float]] = {}
    wire: dict[int, list[float]] = {}
    slowest: list[float] = []
    mean: list[float] = []
    for turn in range(options.rounds):
        tries = [(f"{count}", count, 1, 0.0) for count in PROCESSES] + [("threads", 1, 2, 0.0)]
        for name, processes, threads, _ in tries[:: 1 if turn % 2 else -1]:
            told = run(processes, threads, folder, options.batch)
            wall.setdefault(name, []).append(float(told[:, 0].max()))
            if threads == 1:
                cpu.setdefault(processes, []).append(float(told[:, 1].sum()))
                wire.setdefault(processes, []).append(float(told[:, 2].sum()))
            if processes == threads == 1:
                slowest.append(largest_of(MACHINES, told[0, 3:]))
                mean.append(float(told[0, 3:].mean()))
        each = wall["4"][-1] / told_rounds(options, 4)
        slowed = run(4, 1, folder, options.batch, slow=each)
        wall.setdefault("slow", []).append(float(slowed[:, 0].max()))
    lines = [Line("two processes / one with two threads", "s", wall["2"], wall["threads"], Target(high=1.15))]
    for count in PROCESSES[1:]:
        lines.append(Line(f"{count} processes / one, CPU of all", "s", cpu[count], cpu[1]))
        expected = [float(wire_bytes(count, options.batch, options.dimension, told_rounds(options, count)))]
        expected *= options.rounds
        lines.append(Line(f"{count} processes, sent / arithmetic", "bytes", wire[count], expected, Target(1.0, 1.0)))
    lines.append(Line("four, one takes twice as long / four alike", "s", wall["slow"], wall["4"]))
    lines.append(Line(f"the slowest of {MACHINES} rounds / a round", "s", slowest, mean))
    lines.append(Line("one of four is lost: others end / a minute", "s", [lost(folder)], [MINUTE], Target(high=1.0)))
    return lines


def largest_of(count: int, values: np.ndarray) -> float:
    """Return the expected largest of so many draws from these values."""
    below = (np.arange(len(values) + 1) / len(values)) ** count
    return float((np.sort(values) * np.diff(below)).sum())


def told_rounds(options: argparse.Namespace, processes: int) -> int:
    """Return how many rounds there are in which somebody asks: batches of the process that has most."""
    return -(-options.queries // options.batch // processes)


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options: Any = parser(__doc__, rounds=3)
    options.add_argument("--rows", type=int, default=400_000)
    options.add_argument("--dimension", type=int, default=256)
    options.add_argument("--queries", type=int, default=768, help="a multiple of four batches")
    options.add_argument("--batch", type=int, default=64, help="queries at a time")
    options = options.parse_args(args)
    if options.queries % (PARTS * options.batch):
        sys.exit(f"--queries is {options.queries}: a multiple of {PARTS} batches of {options.batch} is accepted")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        lines = measured(options, Path(folder))
    title = f"Sharded: {options.rows:,} × {options.dimension}, K = {K}, {options.queries} queries by {options.batch}"
    report(title, lines, options)


if __name__ == "__main__":
    sys.exit(main())
