"""How many bytes a database and a test take on a disk, HDF5's and NumPy's own included."""

from __future__ import annotations

from lit_knn.data import ImageData
from lit_knn.database import Database
from lit_knn.database.index.plan import ID_BYTES
from lit_knn.doctor.planning import Cell, PlannedTest
from lit_knn.doctor.rates import Rates
from lit_knn.evaluation.cache.batch import PERTURBATION
from lit_knn.evaluation.found_neighbors import CHUNK

EACH = {"realized": 4, "realized_normalized": 4, "flat": 1, "passes": 16}  # bytes of one image
# what files take beside their numbers, as they were measured:
HDF5 = 8192  # a batch of the activation cache, or a shard
FOUND = 12_400  # the neighbors of a tap
NPZ = {"results": 2290, "waiting": 570}  # a batch
RECORD, ROW = 10_000, 620  # record.json and results.csv: a run, and one of their rows
BREAK = 20  # a cell of broken_by.csv
FIGURE, SHEETS = 60_000, 50_000  # accuracy.png and the folder of the inspector; the neighbors of each tap


def store_bytes(database: Database, rates: Rates) -> int:
    """Return what the store takes for one image."""
    return database.schema(rates.classes, _dimensions(database, rates)).row_bytes


def projection_bytes(database: Database, rates: Rates) -> int:
    """Return what the projections take: float64."""
    return sum(8 * rates.lengths[name] * (size + 1) for name, size in _dimensions(database, rates).items())


def index_bytes(database: Database, tap: str, rates: Rates) -> int:
    """Return what an index takes for one row of a tap at most: that of a code takes less."""
    if database.index.exhaustive:
        return 0
    sizes = _dimensions(database, rates)
    parts = [database.taps[name] for name in tap.split("+")]
    return sum(sizes[part.name] // 8 if part.bits else 4 * sizes[part.name] for part in parts) + ID_BYTES


def _dimensions(database: Database, rates: Rates) -> dict[str, int]:
    return {name: min(tap.dimension, rates.lengths[name]) for name, tap in database.taps.items()}


def written_by(planned: PlannedTest, rates: Rates, images: int, batches: int, *, shared: bool) -> int:
    """Return what a test of one process writes: into a cache with a path of its own, or else into the run's folder.

    Args:
        planned: What it does.
        rates: Say how long activations are.
        images: Number of queries.
        batches: That they are read in.
        shared: Which of the two.
    """
    cells = [cell for cell in planned.cells if cell.shared is shared]
    kept = sum(images * _cell_bytes(planned, cell, rates) + batches * HDF5 * cell.new for cell in cells)
    return kept if shared else kept + _run_bytes(planned, rates, images, batches)


def _cell_bytes(planned: PlannedTest, cell: Cell, rates: Rates) -> int:
    """Return what the columns of one image take, in float32."""
    sizes = EACH | {"logits": 4 * rates.classes, PERTURBATION: 2 * rates.pixels}
    for column, what in planned.columns.items():
        sizes[column] = 4 * rates.lengths[what] if isinstance(what, str) else 4 * what * rates.classes
    return sum(sizes[column] for column in cell.columns) + ID_BYTES * cell.new


def _run_bytes(planned: PlannedTest, rates: Rates, images: int, batches: int) -> int:
    """Return what is written beside the activations: what became of each query, neighbors, record and pictures."""
    cases, sizes, answers = planned.shape
    topk = 1 if planned.cascade or rates.classes <= 5 else 2
    results = images * (10 + cases * sizes * (25 + 2 * answers * topk)) + batches * NPZ["results"]
    queries = images * (1 + cases * (sizes - 1))
    looked_for = -(-queries // CHUNK) * CHUNK if queries > CHUNK else queries
    found = sum(planned.views * looked_for * k * 12 + FOUND for k in planned.searched.values())
    waiting = images * ID_BYTES + batches * NPZ["waiting"] if planned.searched else 0
    rows = (cases + (cases > 1)) * sizes * answers * topk
    broken = images * (sizes - 1) * (answers + 1) * BREAK if cases > 1 else 0
    taps = sum(isinstance(what, str) for what in planned.columns.values())
    return results + found + waiting + RECORD + rows * ROW + broken + FIGURE + taps * SHEETS


def query_batches(data: ImageData) -> int:
    """Return in how many batches the queries are read."""
    return data.chosen.batches(data.batch_size).total
