"""What the benchmarks share: rounds of measurements taken in turn, one table, one record.

A ratio is only worth something if both of its sides saw the same machine. So both run in each round, each going first
half of the time, and what is reported is the median of the ratios of the rounds, with their smallest and largest.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import torch

COMMAND = """
from lit_knn.cli.main import main
main()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""  # not ru_maxrss: it starts with the peak of the process that starts this, and adds what unloading PyTorch touches
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Target(NamedTuple):
    """The ratios that are good enough."""

    low: float = 0.0
    high: float = float("inf")

    def __str__(self) -> str:
        if self.high == float("inf"):
            return f"≥ {self.low:.2f}"
        return f"{self.low:.2f} – {self.high:.2f}" if self.low else f"≤ {self.high:.2f}"


class Line(NamedTuple):
    """One line of the table.

    Attributes:
        name: What is compared with what.
        unit: Of the values.
        measured: One value for each round.
        base: What it is compared with.
        target: Of the median ratio; None for a line that is only there to be read.
    """

    name: str
    unit: str
    measured: Sequence[float]
    base: Sequence[float]
    target: Target | None = None

    def summary(self) -> dict[str, Any]:
        """Return medians, ratios with their spread, and whether the target is met, for people and for JSON."""
        ratios = [measured / base for measured, base in zip(self.measured, self.base, strict=True)]
        ratio = statistics.median(ratios)
        return {
            "name": self.name,
            "unit": self.unit,
            "measured": statistics.median(self.measured),
            "base": statistics.median(self.base),
            "ratio": ratio,
            "low": min(ratios),
            "high": max(ratios),
            "ratios": ratios,
            "target": str(self.target or ""),
            "met": None if self.target is None else self.target.low <= ratio <= self.target.high,
        }


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Return a parser of the options that all benchmarks have."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--rounds", type=int, default=rounds, help="of measurements, after one that warms up")
    clock = "time that passes, or CPU seconds of this process, which others disturb less (no workers, no GPU)"
    result.add_argument("--clock", choices=CLOCKS, default="wall", help=clock)
    result.add_argument("--folder", type=Path, help="where to put temporary files; the system's choice by default")
    result.add_argument("--output", type=Path, help="also write a record (JSON) there")
    return result


def in_turn(options: argparse.Namespace, *runs: Callable[[], object]) -> list[list[float]]:
    """Run all in each round, forwards and backwards in turn; return the seconds of each, round by round."""
    taken: list[list[float]] = [[] for _ in runs]
    for turn in range(options.rounds + 1):
        for run, seconds in list(zip(runs, taken, strict=True))[:: 1 if turn % 2 else -1]:
            seconds.append(timed(run, CLOCKS[options.clock]))
    return [seconds[1:] for seconds in taken]


def timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return how many seconds of a clock something takes, the GPU included."""
    start = clock()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def peak(*arguments: str) -> float:
    """Return the largest memory in MiB of a process ``lit-knn ARGUMENTS`` of its own (Linux only)."""
    launched = subprocess.run([sys.executable, "-c", COMMAND, *arguments], capture_output=True, check=False, text=True)
    if launched.returncode:
        sys.exit(launched.stderr)
    return int(launched.stdout.split()[-1]) / 1024


def machine() -> dict[str, Any]:
    """Return what the numbers depend on besides the code."""
    cpu = platform.processor()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    faiss = metadata.packages_distributions().get("faiss", [])
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": [round(value, 2) for value in os.getloadavg()],
        "versions": {name: metadata.version(name) for name in ("lit_knn", "torch", *faiss)},
    }


def report(title: str, lines: Sequence[Line], options: argparse.Namespace) -> None:
    """Print the table, and write the record where one is asked for."""
    host, results = machine(), [line.summary() for line in lines]
    print(title)
    load = " ".join(map(str, host["load"]))
    print(f"{host['cpu']} × {host['cores']}, threads {host['threads']}, load {load}, {options.clock} clock", end="")
    print(f", {host['gpu']}" if host["gpu"] else "")
    width = max(len(line.name) for line in lines)
    print(f"{'':{width}}  {'measured':>9}  {'base':>9}  {'unit':8}  {'ratio':>6}  {'min – max':13}  target")
    for result in results:
        verdict = {True: "met", False: "MISSED", None: ""}[result["met"]]
        print(
            f"{result['name']:{width}}  {result['measured']:9.4g}  {result['base']:9.4g}  {result['unit']:8}  "
            f"{result['ratio']:6.3f}  {result['low']:.3f} – {result['high']:.3f}  {result['target']} {verdict}".rstrip()
        )
    if options.output:
        record = {
            "benchmark": title,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": host,
            "options": vars(options),
            "results": results,
        }
        options.output.write_text(json.dumps(record, indent=1, default=str) + "\n")
