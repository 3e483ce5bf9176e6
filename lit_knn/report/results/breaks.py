"""Which attack broke which image: the per-sample side of the worst case."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_knn.report.results.variant import Variant
from lit_knn.storage.atomic import write_text
from lit_knn.storage.reading import undamaged

BREAKS_FILE = "broken_by.csv"
HEAD = ("id", "norm", "delta")  # before the variants


def write_breaks(
    path: Path,
    batches: Iterable[tuple[list[int], NDArray[np.bool_]]],
    cases: Sequence[tuple[str, str]],
    deltas: Sequence[float],
    variants: Sequence[Variant],
    norm: str,
) -> None:
    """Write one row per query and Δ with, for each defense variant, the first case that breaks it at the smallest Δ.

    Args:
        path: Of the CSV.
        batches: Ids of N queries, and whether each line still counts them, ``(A, E, N, V, T)``: the last axis is of
            top-k, the smallest k first, which alone decides. Of several evaluations, a mean counts a query until an
            attack breaks all of them, a majority until it breaks half, the worst until it breaks any.
        cases: Names (threat, attack) of the A cases.
        deltas: The E budgets, ascending; 0 stands for the clean image, and is left out.
        variants: The V lines of the results.
        norm: What the sizes are in.

    The cells are "" where no case breaks the answer at this Δ or a smaller one, "clean" where it is wrong without any
    attack, and else "threat: attack".
    """
    names = [f"{threat}: {attack}" for threat, attack in cases]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*HEAD, *map(str, variants)])
    for ids, hits in batches:
        broken = ~hits[..., 0]  # (A, E, N, V)
        clean = broken[0, deltas.index(0.0)]  # (N, V)
        known = np.array(["", *names])[np.where(broken.any(axis=0), broken.argmax(axis=0) + 1, 0)]  # (E, N, V)
        for smaller, larger in pairwise(known):
            np.copyto(larger, smaller, where=smaller != "")
        cells = np.where(clean, "clean", known)
        for n, query in enumerate(ids):
            for delta, line in zip(deltas, cells[:, n], strict=True):
                if delta > 0:
                    table.writerow([query, norm, delta, *line])
    write_text(path, text.getvalue())


def read_breaks(path: Path, delta: float) -> dict[str, Counter[str]]:
    """Return, for each column of variants, how often each cell occurs at a Δ.

    Raises:
        UserError: If the file is not one that `write_breaks` writes.
    """
    with undamaged(path, "remove the file"), path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, strict=True)
        columns = [name for name in table.fieldnames or [] if name not in HEAD]
        counts: dict[str, Counter[str]] = {column: Counter() for column in columns}
        for row in table:
            if None in (*row, *row.values()) or not {"id", "delta"} <= row.keys():
                raise ValueError(f"line {table.line_num} is not id, delta and {len(columns)} cells")
            if float(row["delta"]) == delta:
                for column in columns:
                    counts[column][row[column]] += 1
    return counts
