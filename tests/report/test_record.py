import csv
import dataclasses
import json

import pytest

from lit_knn.errors import UserError
from lit_knn.report import Record
from lit_knn.report.record import COLUMNS


def test_round_trip(record, tmp_path):
    path = record.save(tmp_path / "new" / "run")
    assert Record.load(path) == Record.load(tmp_path / "new" / "run") == record
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]  # no temporary file left


def test_csv_is_byte_stable_and_reads_back_exactly(record, tmp_path):
    record.save(tmp_path)
    first = record.write_csv(tmp_path / "a.csv").read_bytes()
    assert Record.load(tmp_path).write_csv(tmp_path / "b.csv").read_bytes() == first
    assert b"\r" not in first
    rows = list(csv.DictReader(first.decode().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["low"]) for row in rows] == [row["low"] for row in record.results]
    assert [row["k"] for row in rows] == [str(row["k"]) for row in record.results]


def test_a_failed_save_leaves_the_old_record(record, tmp_path):
    path = record.save(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        dataclasses.replace(record, seconds={"attack": float("nan")}).save(tmp_path)
    assert Record.load(path) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "record schema 99; this version of lit_knn reads 2, 3"),
        ({"extra": 1}, r"missing or unknown \['extra'\]"),
        ({"results": [{"threat": "gray_box"}]}, "results must be rows with the columns threat, attack"),
        ({"results": 3}, "results must be rows"),
    ],
)
def test_another_layout_is_refused_in_one_sentence(record, tmp_path, change, message):
    path = record.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        Record.load(path)


def test_a_record_from_before_there_were_warnings(record, tmp_path):
    path = record.save(tmp_path)
    content = json.loads(path.read_text())
    del content["warnings"]
    path.write_text(json.dumps(content | {"schema": 2}))
    assert Record.load(path) == record


@pytest.mark.parametrize("content", ["", '{"schema": 1', "[]", "null"])
def test_a_damaged_record_is_refused(content, tmp_path):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(UserError, match=r"record\.json"):
        Record.load(tmp_path)


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(UserError, match="no record can be read there"):
        Record.load(tmp_path)


@pytest.mark.parametrize("value", ["0.5", None, True])
def test_an_accuracy_that_is_no_number_is_refused(record, tmp_path, value):
    rows = [record.results[0] | {"accuracy": value}, *record.results[1:]]
    dataclasses.replace(record, results=rows).save(tmp_path)
    with pytest.raises(UserError, match=r"delta, topk, correct, .* must be numbers"):
        Record.load(tmp_path)
