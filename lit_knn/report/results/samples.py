"""What became of each query: the form of the files in the folder of a run, and what rows of its record count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lit_knn.report.results.case import Case
from lit_knn.report.results.record import Record, Row, variant
from lit_knn.report.results.runs import Run
from lit_knn.report.results.variant import answers_of
from lit_knn.storage.fingerprint import digest
from lit_knn.storage.reading import load_arrays, undamaged

SAMPLES_FOLDER = "sample_results"
REMEDY = "run the same test again, which scores its batch again"
FORM = {  # dtype and dimensions; `lit_knn.evaluation.sample_results` says what they hold
    "run": ("U16", 0),
    "id": ("int64", 1),
    "hits": ("int16", 5),
    "realized": ("float32", 3),
    "realized_normalized": ("float32", 3),
    "right": ("bool", 1),
    "stored": ("bool", 1),
    "flat": ("bool", 3),
    "passes": ("int64", 4),
}
READ = {name: FORM[name] for name in ("run", "id", "hits")}


class Samples(NamedTuple):
    """N queries of a run.

    Attributes:
        ids: ``(N,)`` int64, positions in the source of the queries, none twice.
        counts: ``(R, N)`` int16, what each of R rows counts of each query: 0 or 1, or in a mean right evaluations.
    """

    ids: NDArray[np.int64]
    counts: NDArray[np.int16]


def read_samples(run: Run, rows: Sequence[Row]) -> Samples | None:
    """Return what rows of a run's record count of each query; None where its folder does not say it.

    Then there are no such files, or not those of its record: a later test was stopped, or another version of this
    package wrote one of the two.

    Args:
        run: Whose folder is read, batch by batch.
        rows: Of its record, R of them.

    Raises:
        UserError: If a file is damaged or cannot be read, or has a query of another one.
    """
    tested = digest(run.record.fingerprints)
    ids, counts = [], []
    for path in sorted((run.folder / SAMPLES_FOLDER).glob("*.npz")):
        with undamaged(path, REMEDY):
            arrays = load_arrays(path, REMEDY, READ)
            hits, known = arrays["hits"], arrays["id"]
            if str(arrays["run"]) != tested:
                return None
            places = _Places(run.record)
            if hits.shape != (*places.shape, len(known), *places.lines):
                raise ValueError("its arrays are not of this run's cases, lines and queries")
        ids.append(known)
        counts.append(places.of(hits, rows))
    if not ids:
        return None
    samples = Samples(np.concatenate(ids), np.concatenate(counts, axis=1))
    with undamaged(run.folder / SAMPLES_FOLDER, "remove it, and run the same test again"):
        if len(np.unique(samples.ids)) < len(samples.ids):
            raise ValueError("a query is in two files")
    expected = [(row["n"], row["correct"]) for row in rows]
    found = [(len(samples.ids), int(total)) for total in samples.counts.sum(axis=1, dtype=np.int64)]
    return samples if found == expected else None


class _Places:
    """Where in the arrays ``hits`` of a run, ``(A, E, N, V, T)``, the rows of its record are.

    Args:
        record: Of the run.
    """

    def __init__(self, record: Record) -> None:
        self._cases = [Case(*names) for names in record.fingerprints.get("cases", [])]
        self._deltas = list(dict.fromkeys(row["delta"] for row in record.results))
        self._topk = list(dict.fromkeys(row["topk"] for row in record.results))
        self._answers = answers_of([variant(row) for row in record.results])
        self.shape, self.lines = (len(self._cases), len(self._deltas)), (len(self._answers), len(self._topk))

    def of(self, hits: NDArray[np.int16], rows: Sequence[Row]) -> NDArray[np.int16]:
        """Return what each row counts of each of N queries, ``(R, N)``.

        A row that is of no case is of the worst: what leaves fewest at this Δ or a smaller one.
        """
        worst = np.minimum.accumulate(hits.min(axis=0), axis=0)
        found = np.empty((len(rows), hits.shape[2]), dtype=np.int16)
        for place, row in zip(found, rows, strict=True):
            attacked, line = Case.of(row), variant(row)
            cases = hits[self._cases.index(attacked)] if attacked in self._cases else worst
            answer, topk = self._answers.index(line.answer), self._topk.index(row["topk"])
            right = cases[self._deltas.index(row["delta"]), :, answer, topk]  # (N,)
            place[:] = right >= line.enough if line.enough else right
        return found
