"""What a cascade costs beside the full suite, target ≤ 0.33 of its CPU seconds, and whether the worst case is the same.

    OMP_NUM_THREADS=1 python tools/bench_cascade.py --queries 50
    OMP_NUM_THREADS=1 python tools/bench_cascade.py --config configs/cifar10.yaml --delta 0.02 --queries 100

Whole processes of ``lit-knn test`` with ``configs/attack/adaptive.yaml``, whose results are compared image by image. By
default on the quickstart's digits; the database of another configuration has to be there.
"""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import Line, Target, parser, report

from lit_knn.report.results import WORST_CASE
from lit_knn.report.results.breaks import BREAKS_FILE
from lit_knn.report.results.record import RESULTS_FILE

CONFIGS = Path(__file__).parents[1] / "configs"
UNBROKEN = ("", "clean")  # cells that name no attack


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--config", type=Path, default=CONFIGS / "quickstart.yaml", help="what is attacked")
    options.add_argument("--suite", type=Path, default=CONFIGS / "attack" / "adaptive.yaml", help="by which attacks")
    options.add_argument("--delta", type=float, default=0.1, help="Δ in (0, 1]")
    options.add_argument("--queries", type=int, default=200, help="how many images")
    options = options.parse_args(args)
    seconds: dict[str, list[float]] = {"true": [], "false": []}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        command = [sys.executable, "-m", "lit_knn", "test", f"--config={options.config}", f"--config={options.suite}"]
        command += [f"--model.deltas=[{options.delta}]", f"--data.num_queries={options.queries}", "--model.topk=[1]"]
        for number in range(options.rounds):
            for cascade, taken in seconds.items():
                run = f"{cascade}-{number}"
                own = [f"--model.cascade={cascade}", f"--trainer.default_root_dir={folder}", f"--trainer.run={run}"]
                taken.append(_cpu_seconds([*command, *own]))
            differences = _differences(*(Path(folder) / f"{cascade}-{number}" for cascade in seconds))
            if differences:
                sys.exit(f"the worst case is another one: {differences[0]}")
    line = Line("cascade / full suite", "s", seconds["true"], seconds["false"], Target(high=0.33))
    report(f"{options.queries} queries of {options.config.name} at Δ = {options.delta:g}", [line], options)


def _cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    launched = subprocess.run(command, capture_output=True, check=False, text=True)
    if launched.returncode:
        sys.exit(launched.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _differences(cascade: Path, full: Path) -> list[str]:
    """Return where answers are broken in one run and not in the other, or a count of the worst case is another one."""
    found = []
    broken = ((folder / BREAKS_FILE).read_text(encoding="utf-8").splitlines() for folder in (cascade, full))
    for line, expected in zip(*map(csv.reader, broken), strict=True):
        for cell, wanted in zip(line, expected, strict=True):
            if (cell in UNBROKEN or wanted in UNBROKEN) and cell != wanted:
                found.append(f"query {line[0]} at Δ = {line[1]}: {cell or 'stands'}, {wanted or 'stands'}")
    mine, other = (_worst(folder / RESULTS_FILE) for folder in (cascade, full))
    found += [f"{name}: {count}, {other.get(name)}" for name, count in mine.items() if other.get(name) != count]
    return found


def _worst(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["threat"], row["attack"]) == WORST_CASE]
    names = ("delta", "defense", "tap", "k", "weighting", "combination", "rows", "topk")
    return {" ".join(row[name] for name in names): row["correct"] for row in rows}


if __name__ == "__main__":
    main()
