"""What a database of so many images takes: bytes, machines and hours, from rates that benchmarks of ours have measured.

    python tools/arithmetic.py                         # the first table of lit_knn/database/README.md
    python tools/arithmetic.py 5e6 2e9                 # for other numbers of images
    python tools/arithmetic.py 5e10 --machines 16 64   # its second table: a `Sharded` index over so many machines

Rates are those of the records in tools/records: `bench_extract.py` (ResNet-50 on one core), `bench_pca.py` and
`bench_index.py` (the scan of the store). Bytes are those of the store's columns and of `lit_knn.database.index.plan`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from lit_knn.database.index.plan import ID_BYTES, plan
from lit_knn.database.store import Schema
from lit_knn.doctor.forecast import size

RECORDS = Path(__file__).parent / "records"
COLUMNS = {"num_classes": 1000, "weights": ("cbwe", "cbwd"), "packed": True, "key_width": 64}
FLOATS = Schema(dimensions=dict.fromkeys(("conv_2_3", "conv_3_4", "conv_4_6", "conv_5_1"), 256), **COLUMNS)
BITS = Schema(dimensions={"conv_5_1-RMAC": 256}, bits=("conv_5_1-RMAC",), **COLUMNS)
IMAGES = (1_281_167, 10**8, 10**9, 5 * 10**10)
QUERIES = 50_000
PCA_ROWS = 3_000_000
MEMORY = 512 * 2**30  # of one machine; half of it is for the index
MACHINES = (4, 16, 64)
BATCH, K = 64, 50  # queries that a machine asks at a time, and neighbors of each
ANSWER_BYTES = 8 + 4  # an id and a distance
HEADER_BYTES = 7 * 8  # what each machine tells every other one in a round
LINE_RATE = 10e9 / 8  # bytes/s of a network of 10 Gbit/s


class Rates(NamedTuple):
    """What one core does in a second.

    Attributes:
        images: Extracted by a ResNet-50.
        rows: Of 2,048 dimensions added to the moments of PCA.
        pairs: Of a query and a row of 256 dimensions compared by a scan of the store.
    """

    images: float
    rows: float
    pairs: float


def rates() -> Rates:
    """Read them from the records."""
    extract, pca, index = (
        json.loads((RECORDS / f"bench_{name}.json").read_text()) for name in ("extract", "pca", "index")
    )
    return Rates(
        found(extract, "extraction")["measured"] / extract["machine"]["threads"],
        pca["options"]["rows"] / found(pca, "2,048 dimensions, IncrementalPCA / ours")["base"],
        found(index, "Scan")["measured"] * index["options"]["rows"] / index["machine"]["threads"],
    )


def found(record: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the line of a record that starts with a name."""
    return next(line for line in record["results"] if line["name"].startswith(name))


def hours(core_seconds: float) -> str:
    """Return core-hours for people."""
    rounded = float(f"{core_seconds / 3600:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def line(images: int, speed: Rates) -> list[str]:
    """Return a line of the table."""
    machines = 1
    while True:
        try:
            chosen = plan(images, 256, machines * MEMORY // 2)
        except ValueError:
            machines += 1
            continue
        break
    return [
        f"{images:,}",
        f"{size(images * FLOATS.row_bytes)} / {size(images * BITS.row_bytes)}",
        f"`{chosen.factory}`, {size(chosen.total_bytes)}",
        str(machines),
        size(images * (256 // 8 + ID_BYTES)),
        hours(images / speed.images),
        hours(min(images, PCA_ROWS) / speed.rows),
        hours(images * QUERIES / speed.pairs),
    ]


def wire_bytes(machines: int, batch: int, dimension: int, rounds: int, k: int = K) -> int:
    """Return the bytes that all machines together send in so many rounds, each of which asks one batch in each.

    A question goes from the machine that has it to all others, and from each of them its k nearest rows come back. One
    more round, in which nobody asks, ends it: ``P (P − 1) (R N (4 D + 12 k) + 56 (R + 1))``.
    """
    pairs = machines * (machines - 1)
    return pairs * (rounds * batch * (4 * dimension + ANSWER_BYTES * k) + HEADER_BYTES * (rounds + 1))


def shares(images: int, machines: int) -> list[str]:
    """Return a line of the table of a `Sharded` index."""
    rounds = math.ceil(QUERIES / BATCH / machines)
    everything = wire_bytes(machines, BATCH, 256, rounds)
    code = plan(images, 256, max(MEMORY, images * 64))
    return [
        f"{machines}",
        f"{images / machines:,.0f}",
        size(images * (256 // 8 + ID_BYTES) / machines),
        f"`{code.factory}`, {size(code.total_bytes / machines)}",
        f"{rounds:,}",
        f"{machines * BATCH:,}",
        size(everything / rounds / machines),
        f"{1000 * everything / rounds / machines / LINE_RATE:,.1f} ms",
        size(everything),
    ]


SHARES_HEAD = [
    "machines",
    "rows of each",
    "bits of each",
    "one-bit codes of each",
    f"rounds for {QUERIES:,} queries",
    "queries that each searches in a round",
    "sent by each in a round",
    "at 10 Gbit/s",
    "sent in all",
]
HEAD = [
    "images",
    "store: four taps / bits",
    "index of a tap (`auto`)",
    "machines of 512 GiB",
    "index over bits",
    "extract, ResNet-50, core-hours",
    "PCA, 2,048-d, core-hours",
    f"exact scan, {QUERIES:,} queries, core-hours",
]


def table(images: Iterable[int]) -> str:
    """Return the table for these numbers of images, in Markdown."""
    speed = rates()
    return markdown(HEAD, [line(number, speed) for number in images])


def sharded(images: int, machines: Iterable[int]) -> str:
    """Return the table of a `Sharded` index over so many machines, in Markdown."""
    return markdown(SHARES_HEAD, [shares(images, number) for number in machines])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def main(args: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=float, default=IMAGES)
    parser.add_argument("--machines", nargs="+", type=int, help="that hold an equal part of the images each")
    options = parser.parse_args(args)
    images = [int(number) for number in options.images]
    print("\n\n".join(sharded(number, options.machines) for number in images) if options.machines else table(images))


if __name__ == "__main__":
    main()
