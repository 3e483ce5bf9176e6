"""The results of several runs as one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from lit_knn.report.results.record import COLUMNS
from lit_knn.report.results.runs import Run
from lit_knn.report.settings import differing
from lit_knn.storage.atomic import write_text


def write_combined(runs: Sequence[Run], path: Path) -> None:
    """Write every row of every run, after its run and the settings that differ."""
    differences = differing([run.record for run in runs])
    text = io.StringIO()
    table = csv.DictWriter(text, ["run", *differences[0], *COLUMNS], lineterminator="\n")
    table.writeheader()
    for run, different in zip(runs, differences, strict=True):
        table.writerows({"run": run.label, **different, **row} for row in run.record.results)
    write_text(path, text.getvalue())
