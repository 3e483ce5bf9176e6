import copy
import dataclasses
import re
from pathlib import Path

from lit_knn.report.paper_table import paper_comparison
from lit_knn.report.rendering.document import Folded, Paragraph, Table
from lit_knn.report.results.runs import Run
from tests.report.conftest import make_record
from tests.report.results.test_paper import QUERIES, changed, imagenet_run, rival, with_rival


def compared(*records):
    runs = [Run(f"run-{number}", Path(), record) for number, record in enumerate(records, 1)]
    blocks = paper_comparison(runs, {run.label: 0.06 for run in runs})
    listed = [table for block in blocks if isinstance(block, Folded) for table in block.blocks]
    assert len(listed) <= 1
    *sentences, last = (block.text for block in blocks if isinstance(block, Paragraph))
    sentences += [] if last.startswith("Of the paper, no run here has measured Table 1: IG-50B-All") else [last]
    return sentences, listed[0].rows if listed else []


def test_a_run_stands_beside_the_table_that_it_names():
    sentences, rows = compared(imagenet_run("1"), make_record())
    assert sentences == []
    assert {row[0] for row in rows} == {"run-1"}
    name = "IN-1.3M, kNN conv_5_1 K=50 UW soft"
    (row,) = (row for row in rows if row[1:3] == [name, "gray box"])
    measured = next(r for r in imagenet_run().results if (r["tap"], r["k"], r["delta"]) == ("conv_5_1", 50, 0.06))
    assert row[3:6] == ["Table 1", "–", ".285"]
    assert row[6].startswith(f".{measured['correct']:03} (")
    assert row[7:] == [f"{measured['correct'] / 1000 - 0.285:+.3f}".replace("0.", ".").replace("-", "−"), "1,000"]


def test_where_the_paper_disagrees_with_itself_it_is_told():
    _, rows = compared(imagenet_run("2"))
    (row,) = (row for row in rows if row[1].startswith("IN-1.3M") and row[2] == "clean")
    assert row[3:6] == ["Table 2; Table 1 has .471, Table 4 has .471", "–", ".462"]


def test_tables_as_the_paper_prints_them_come_before_the_list_and_what_is_missing_after_it():
    run = Run("run-1", Path(), imagenet_run("2"))
    table, listed, missing = paper_comparison([run], {"run-1": 0.06})
    assert (type(table), table.name, type(listed)) == (Table, "paper-table-2", Folded)
    assert missing.text.startswith("Of the paper, no run here has measured Table 1: ")
    assert missing.text.endswith("; Figures: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.")


def test_what_the_paper_only_quotes_is_in_no_row_of_the_list():
    _, rows = compared(imagenet_run("2"))
    assert {row[1].partition(",")[0] for row in rows} == {"No defense", "IN-1.3M"}


def test_what_a_run_differs_in_is_told_once_and_what_a_line_does_beside_it():
    record = changed(QUERIES, {"class_path": "CIFAR10"})
    record = dataclasses.replace(record, fingerprints={"attack PGD-sign": record.fingerprints["attack PGD-L2"]})
    crops = {**copy.deepcopy(rival("Crop ensemble").described), "name": "crops", "draws": 7}
    more = [row | {"defense": "crops"} for row in record.results if row["defense"] == "none"]
    (sentence,), rows = compared(
        dataclasses.replace(
            record,
            results=[*record.results, *more],
            fingerprints=record.fingerprints | {"defenses": [crops]},
            config=record.config | {"paper": {"table": "2", "row": "IN-1.3M"}},
        )
    )
    step = "step l2 instead of sign"
    assert sentence == (
        "run-1 is Table 2, IN-1.3M, but for this: queries CIFAR10 instead of ImageNet val; "
        f"gray box: {step}; black box: {step}."
    )
    told = {(row[1].partition(",")[0], row[4]) for row in rows}
    assert told == {("No defense", "–"), ("IN-1.3M", "–"), ("Crop ensemble", "draws 7 instead of 30")}
    assert all(re.fullmatch(r"[+−]?\.\d{3}", row[7]) for row in rows)


def test_a_rival_says_what_else_is_not_the_same():
    _, rows = compared(with_rival("mine", "TV Minimization", draws=2))
    (row,) = (row for row in rows if row[1:3] == ["TV Minimization", "clean"])
    assert row[3:6] == ["Table 2", "its network was trained on such images; draws 2 instead of 1", ".635"]


def test_of_a_figure_no_number_is_shown():
    sentences, rows = compared(changed(["paper"], {"figure": 5, "panel": "gray"}))
    assert rows == []
    (sentence,) = sentences
    assert sentence.startswith("run-1 is Figure 5, gray, accuracy against Δ under PGD, for several sizes of two")
    assert sentence.endswith("of which the paper prints no numbers, so that none stands beside it: see its curves.")


def test_without_any_place_it_says_so():
    (sentence,), rows = compared(make_record())
    assert rows == []
    assert "none of the paper's numbers is shown" in sentence
