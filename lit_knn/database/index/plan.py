"""Which FAISS index suits a number of rows and a memory budget, and what it will cost."""

from __future__ import annotations

import math
import os
from typing import NamedTuple

from lit_knn.errors import UserError

EXACT_UP_TO = 20_000  # rows: comparing all of them takes milliseconds
GRAPH_FROM = 1 << 14  # lists: from here on, a graph finds the nearest centroids faster than comparing all
MOST_LISTS = 1 << 18  # training more of them takes days
ID_BYTES = 8


class Plan(NamedTuple):
    """An index that FAISS can build.

    Attributes:
        factory: FAISS's name of it.
        lists: How many inverted lists it has; 0 for exact search.
        row_bytes: What a row takes.
        total_bytes: What all rows and centroids take.
        recall: About which share of the true neighbors it finds if it reads every list: `CODES`.
    """

    factory: str
    lists: int
    row_bytes: int
    total_bytes: int
    recall: float

    def __str__(self) -> str:
        """Return one line for people."""
        size = f"{self.total_bytes / 2**30:.3g} GiB, {self.row_bytes} bytes a row"
        return f"{self.factory}: about {size}, recall up to about {self.recall:.2f}"


class Code(NamedTuple):
    """How an IVF index keeps vectors: FAISS's name, bits a dimension, further bytes, recall where it reads every list.

    The recalls are those of K = 50 among 50,000 real features of 256 dimensions (CIFAR-10, three layers of a ResNet-56,
    the lowest of them): ``python tools/bench_index.py --only codes --store runs/cifar10/database/store``, with its
    record in tools/records/bench_index_codes.json.
    """

    factory: str
    bits: int
    further_bytes: int
    recall: float


CODES = (  # by falling size
    Code("Flat", 32, 0, 1.0),
    Code("SQfp16", 16, 0, 1.0),
    Code("SQ8", 8, 0, 0.99),
    Code("SQ6", 6, 0, 0.95),
    Code("RaBitQ4", 4, 20, 0.85),
    Code("RaBitQ2", 2, 20, 0.64),
    Code("RaBitQ", 1, 8, 0.46),
)


def plan(rows: int, dimension: int, budget: int) -> Plan:
    """Return the most exact index that fits.

    Args:
        rows: M.
        dimension: D.
        budget: Bytes that it may take.

    Raises:
        UserError: If none fits.

    References:
        The rules of autofaiss and of https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index
    """
    if rows <= EXACT_UP_TO and rows * dimension * 4 <= budget:
        return Plan("Flat", 0, dimension * 4, rows * dimension * 4, 1.0)
    lists = min(1 << round(math.log2(4 * math.sqrt(rows))), MOST_LISTS)
    quantizer = f"IVF{lists}_HNSW32" if lists >= GRAPH_FROM else f"IVF{lists}"
    for code in CODES:
        row_bytes = -(-dimension * code.bits // 8) + code.further_bytes + ID_BYTES
        total = rows * row_bytes + lists * dimension * 4
        if total <= budget:
            return Plan(f"{quantizer},{code.factory}", lists, row_bytes, total, code.recall)
    raise UserError(
        f"an index of {rows:,} rows of {dimension} dimensions takes at least {total / 2**30:.3g} GiB, memory_gb is "
        f"{budget / 2**30:.3g}: raise it, keep bits (`bits: true` of the tap, index Binary), or spread it with Sharded"
    )


def default_budget() -> int:
    """Return half of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
