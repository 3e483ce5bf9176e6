"""Whether the memory of a whole test stays the same with ten times as many queries, target 1 ± 5 % (Linux only).

    OMP_NUM_THREADS=1 python tools/bench_test.py

The quickstart's network and database with FGSM at five Δ, kNN over three taps, and queries of noise from tar shards;
the index is Scan, for which all queries wait until the end, and then FAISS, which is asked batch by batch.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from bench import Line, Target, parser, peak, report
from bench_extract import write_shards

QUICKSTART = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
INDEXES = {"Scan": "Scan", "FAISS": {"class_path": "Faiss", "init_args": {"factory": "Flat"}}}
TARGET = Target(0.95, 1.05)
DELTAS = [0.02, 0.05, 0.1, 0.15, 0.2]


def main(args: list[str] | None = None) -> None:
    """Measure and print."""
    options = parser(__doc__, rounds=1)
    options.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000], help="queries of each process")
    options = options.parse_args(args)
    lines = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sources = {count: Path(folder) / str(count) for count in options.counts}
        for count, place in sources.items():
            place.mkdir()
            write_shards(place, images=count, sides=(32, 32), shard_size=1000)
        for name, index in INDEXES.items():
            first, *others = (test_peak(place, name, index) for place in sources.values())
            lines += [
                Line(f"{name}: peak for {count:,} queries / for {options.counts[0]:,}", "MiB", [found], [first], TARGET)
                for count, found in zip(options.counts[1:], others, strict=True)
            ]
    report(f"Memory of lit-knn test: digits_resnet, FGSM at {len(DELTAS)} Δ, kNN over three taps", lines, options)


def test_peak(place: Path, name: str, index: object) -> float:
    """Return the peak in MiB of a test of the queries in a folder, with a database of its own."""
    config = {
        "trainer": {"default_root_dir": str(place / name), "enable_progress_bar": False},
        "data": {"queries": {"class_path": "TarShards", "init_args": {"urls": str(place / "images-*.tar")}}},
        "model": {
            "threats": ["GrayBox"],
            "attacks": ["FGSM"],
            "deltas": DELTAS,
            "database": {"path": str(place / name / "database"), "index": index},
        },
    }
    (place / f"{name}.yaml").write_text(json.dumps(config))
    return peak("test", "--config", str(QUICKSTART), "--config", str(place / f"{name}.yaml"))


if __name__ == "__main__":
    main()
