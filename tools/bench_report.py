"""What `lit-knn report` takes for 200 runs: ≤ 10 s, ≤ 300 MB, a page of ≤ 5 MB; and for one: ≤ 2 s (Linux only).

    python tools/bench_report.py --clock cpu

Runs are copies of a part of the CIFAR-10 record, each of another seed and with other accuracies, so that each has a
figure of its own. Time and peak memory are those of a process of its own, which starts and imports as the command does,
without PyTorch; the time of one run is that over the start of Python alone.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import Line, Target, parser, report

from lit_knn.report.results import Record
from lit_knn.report.results.intervals import wilson

SOURCE = Path(__file__).parent / "records" / "cifar10"
CHILD = """
import sys
from lit_knn.cli.main import main
main(["report", *sys.argv[1:]])
if "torch" in sys.modules:
    sys.exit("lit-knn report has imported PyTorch")
print(open("/proc/self/status").read())
"""
SECONDS, MEGABYTES, PAGE = 10.0, 300.0, 5.0  # the targets
ONE = 2.0  # seconds for one run


def part(record: Record) -> Record:
    """Return a record of some hundred rows, as usual: one size of the database, one K, soft votes."""
    largest = max(row["rows"] for row in record.results if row["rows"] != "")
    kept = {"rows": {"", largest}, "k": {"", 50}, "combination": {"", "soft"}}
    rows = [row for row in record.results if all(row[name] in values for name, values in kept.items())]
    return replace(record, results=rows)


def counted(correct: int, n: int) -> dict[str, float]:
    """Return the entries of a row that depend on a count."""
    low, high = wilson(correct, n)
    return {"correct": correct, "accuracy": correct / n, "low": float(low), "high": float(high)}


def write_runs(folder: Path, runs: int) -> None:
    """Write so many run folders."""
    record, draw = part(Record.load(SOURCE)), random.Random(0)
    for number in range(1, runs + 1):
        share = draw.uniform(0.9, 1)
        rows = [row | counted(int(share * row["correct"]), row["n"]) for row in record.results]
        config = record.config | {"seed_everything": number}
        replace(record, run=f"run-{number:03d}", config=config, seed=number, results=rows).save(
            folder / f"run-{number:03d}"
        )


def timed(clock: str, *arguments: str) -> tuple[float, str]:
    """Return the seconds that Python takes with some arguments, and what it prints."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    answer = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if clock == "cpu":
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, answer.stdout


def measure(folder: Path, clock: str) -> tuple[float, float, float]:
    """Return seconds, MB of peak memory, and MB of the page."""
    seconds, printed = timed(clock, "-c", CHILD, str(folder))
    kibibytes = int(printed.split("VmHWM:")[1].split()[0])
    return seconds, kibibytes * 1024 / 1e6, (folder / "report" / "report.html").stat().st_size / 1e6


def over_start(folder: Path, clock: str) -> float:
    """Return the seconds of a report over those of Python's start."""
    return measure(folder, clock)[0] - timed(clock, "-c", "pass")[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--runs", type=int, default=200, help="how many")
    given: argparse.Namespace = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder, alone = Path(temporary) / "all", Path(temporary) / "one"
        write_runs(folder, given.runs)
        write_runs(alone, 1)
        found = [measure(folder, given.clock) for _ in range(given.rounds)]
        one = [over_start(alone, given.clock) for _ in range(given.rounds)]
    name, targets = f"report of {given.runs} runs", (SECONDS, MEGABYTES, PAGE)
    lines = [
        Line(f"{name}, {what} / target", unit, values, [target] * len(values), Target(high=1))
        for what, unit, values, target in zip(
            ("time", "peak memory", "page"), ("s", "MB", "MB"), zip(*found, strict=True), targets, strict=True
        )
    ]
    base = [ONE] * len(one)
    lines.append(Line("report of one run, time over Python's start / target", "s", one, base, Target(high=1)))
    report(f"Report: {len(part(Record.load(SOURCE)).results)} rows a run", lines, given)


if __name__ == "__main__":
    main()
