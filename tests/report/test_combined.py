import csv
import dataclasses
from pathlib import Path

from lit_knn.report.combined import write_combined
from lit_knn.report.results.record import COLUMNS
from lit_knn.report.results.runs import Run
from tests.report.conftest import make_record


def test_every_row_of_every_run_with_what_differs(tmp_path):
    records = [
        dataclasses.replace(make_record(), config={"model": {"database": {"rows": rows}, "topk": [1]}})
        for rows in (100, 0.5)
    ]
    write_combined([Run(name, Path(), r) for name, r in zip("ab", records, strict=True)], tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["run", "model.database.rows", *COLUMNS]
    expected = [row for record in records for row in record.results]
    assert [{name: row[name] for name in COLUMNS} for row in rows] == [
        {n: str(v) for n, v in row.items()} for row in expected
    ]
    half = len(expected) // 2
    assert [(r["run"], r["model.database.rows"]) for r in rows[::half]] == [("a", "100"), ("b", "0.5")]
