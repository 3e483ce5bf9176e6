import csv
import dataclasses
import json
from pathlib import Path

import pytest

from lit_knn.errors import UserError
from lit_knn.report.attackers import condensed
from lit_knn.report.figures.attacker_databases import attacker_points
from lit_knn.report.figures.chart import accuracy_chart
from lit_knn.report.figures.neighbor_counts import neighbor_points
from lit_knn.report.figures.sizes import size_points
from lit_knn.report.page import page, speaking
from lit_knn.report.paper_table import paper_comparison
from lit_knn.report.rendering.document import Figure
from lit_knn.report.results import Record, leading
from lit_knn.report.results.record import COLUMNS
from lit_knn.report.results.runs import find_runs
from tests.report.conftest import make_record


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


def test_of_several_topk_the_smallest_leads(record):
    assert {row["topk"] for row in record.results} == {1, 5}
    assert leading(record.results) == [row for row in record.results if row["topk"] == 1]
    assert leading([]) == []


def test_a_failed_save_leaves_the_old_record(record, tmp_path):
    path = record.save(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        dataclasses.replace(record, seconds={"attack": float("nan")}).save(tmp_path)
    assert Record.load(path) == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "record schema 99; this version of lit_knn reads 2, 3, 4, 5, 6, 7, 8, 9"),
        ({"extra": 1}, r"missing or unknown \['extra'\]"),
        ({"results": [{"threat": "gray_box"}]}, "results must be rows with the columns threat, attack"),
        ({"results": 3}, r"content\['results'\] is int, not list"),
    ],
)
def test_another_layout_is_refused_in_one_sentence(record, tmp_path, change, message):
    path = record.save(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        Record.load(path)


@pytest.mark.parametrize("content", ["", '{"schema": 1', "[]", "null"])
def test_a_damaged_record_is_refused(content, tmp_path):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(UserError, match=r"record\.json"):
        Record.load(tmp_path)


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(UserError, match="no record can be read there"):
        Record.load(tmp_path)


@pytest.mark.parametrize(
    ("last", "named"), [("l2", "not in l2, relative_l2"), ("l1", "not in l1, relative_l2"), (None, "norm of results")]
)
def test_results_are_in_one_norm(last, named, record, tmp_path):
    dataclasses.replace(record, results=[*record.results[:-1], record.results[-1] | {"norm": last}]).save(tmp_path)
    with pytest.raises(UserError, match=named):
        Record.load(tmp_path)


@pytest.mark.parametrize("norm", ["relative_l2", "l2", "linf"])
def test_the_norm_of_a_record_is_that_of_its_results(norm, tmp_path):
    record = make_record(norm=norm)
    assert Record.load(record.save(tmp_path)).norm == norm
    unknown = [row | {"norm": "l1"} for row in record.results]
    dataclasses.replace(record, results=unknown).save(tmp_path)
    with pytest.raises(UserError, match="in one norm of relative_l2, l2, linf, not in l1"):
        Record.load(tmp_path)


@pytest.mark.parametrize("value", ["0.5", None, True])
def test_an_accuracy_that_is_no_number_is_refused(record, tmp_path, value):
    rows = [record.results[0] | {"accuracy": value}, *record.results[1:]]
    dataclasses.replace(record, results=rows).save(tmp_path)
    with pytest.raises(UserError, match="accuracy of results must be numbers"):
        Record.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "mean"},
        {"protocol": "best", "evaluations": 3},
        {"evaluations": 3},
        {"protocol": "worst", "evaluations": 1},
        {"protocol": "worst", "evaluations": 3, "correct": 1001, "accuracy": 1.001},
        {"protocol": "mean", "evaluations": 3},  # of three times as many
    ],
)
def test_protocols_that_no_evaluations_have_are_refused(record, tmp_path, change):
    several = {"protocol": "mean", "evaluations": 3, "correct": 2700, "accuracy": 0.9}
    last = {**record.results[-1], "n": 1000}
    assert Record.load(dataclasses.replace(record, results=[last | several]).save(tmp_path))
    dataclasses.replace(record, results=[last | change]).save(tmp_path)
    with pytest.raises(UserError, match=r"record\.json is damaged \(no count gives protocol .*; remove it"):
        Record.load(tmp_path)


@pytest.mark.parametrize("change", [{"n": 0}, {"correct": 1001}, {"correct": -1}, {"accuracy": 0.5}, {"delta": -0.1}])
def test_numbers_that_no_count_gives_are_refused(record, tmp_path, change):
    dataclasses.replace(record, results=[*record.results[:-1], record.results[-1] | change]).save(tmp_path)
    with pytest.raises(UserError, match=r"record\.json is damaged \(no count gives .*; remove it"):
        Record.load(tmp_path)


# ---------------------------------------------------------------- records of another shape


def places(content, *path):
    """Yield the way to each value, of lists to the first."""
    keys = content if isinstance(content, dict) else range(min(1, len(content))) if isinstance(content, list) else []
    for key in keys:
        yield (*path, key)
        yield from places(content[key], *path, key)


CONFIG = {
    "seed_everything": 0,
    "model": {
        "classifier": {"network": "torchvision/resnet50", "arguments": {"weights": "IMAGENET1K_V1"}},
        "threats": [
            {"class_path": "BlackBox", "init_args": {"name": "black_box", "surrogates": [{"network": "a"}]}},
            {"class_path": "WhiteBox", "init_args": {"rows": 0.5, "overlap": 0.5}},
        ],
        "database": {"path": "d", "taps": [{"layer": "layer4.0.add", "name": "layer1"}]},
        "topk": [1, 5],
    },
    "data": {"queries": {"class_path": "ImageNet", "init_args": {"split": "val"}}, "database": None},
}
ATTACK = {"class": "lit_knn.attacks.pgd.PGD", "objective": {"class": "CrossEntropy"}, "steps": 10, "step": "sign"}
WHOLE = dataclasses.replace(
    make_record(taps=("layer1",)),
    config=CONFIG,
    warnings=["3 of 1,000 queries are in the database"],
    fingerprints={"classifier": "a", "attack PGD": ATTACK},
)


@pytest.mark.parametrize("value", [None, 5, "x", [{}], True])
def test_a_record_of_another_shape_is_reported_or_refused_by_name(tmp_path, value):
    """Each value in turn; what is never looked at may be anything."""
    path = WHOLE.save(tmp_path / "run")
    content, reported, refused = json.loads(path.read_text()), [], {}
    for place in places(content):
        changed = json.loads(path.read_text())
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        (tmp_path / "run" / "record.json").write_text(json.dumps(changed))
        try:
            runs = find_runs([tmp_path / "run"])
            deltas = speaking(runs.finished, None)
            page(runs, deltas, paper_comparison(runs.finished, deltas), [[Figure(Path("a.png"), "a")]], None)
            neighbor_points(runs.finished[0].record)
            attacker_points(runs.finished[0].record)
            accuracy_chart(condensed(runs.finished[0].record), tmp_path / "chart.svg")
            size_points(runs.finished)
            reported.append(place)
        except UserError as error:
            refused[place] = str(error)
        path.write_text(json.dumps(content))
    assert reported
    assert all(str(path) in sentence or "record of run run" in sentence for sentence in refused.values()), refused
    assert ("results",) in refused
