import dataclasses

import pytest

from lit_knn.report.paper_layout import DIFFERENCE, ELSEWHERE, PAPER, QUOTED, paper_tables
from lit_knn.report.results.paper import beside
from tests.report.conftest import make_record
from tests.report.results.test_paper import QUERIES, changed, imagenet_run, with_rival


def laid_out(**records):
    return paper_tables({label: beside(record, 0.06) for label, record in records.items()})


def numbers(table, row, source):
    """Return the cells of a source below a row of the paper, by their whole head."""
    first = ""
    for cells in table.rows:
        first = cells[0] or first
        if (first, cells[1]) == (row, source):
            return dict(zip(table.whole_head[2:], cells[2:], strict=True))
    return None


def test_table_1_is_laid_out_as_the_paper_has_it():
    (table,) = laid_out(a=imagenet_run("1"))
    assert table.over == [[("", 2), ("Clean", 3), ("Gray box", 3), ("Black box", 3)]]
    assert table.head == ["Image database", "Source", *("UW", "CBW-E", "CBW-D") * 3]
    printed = [row[0] for row in table.rows if row[1] == PAPER]
    assert printed == ["IG-50B-All (conv_5_1-RMAC)", "IG-1B-Targeted (conv_5_1)", "IN-1.3M (conv_5_1)"]
    assert table.rows[1][2:] == [".659", ".664", ".681", ".415", ".429", ".462", ".568", ".574", ".587"]
    assert table.name == "paper-table-1"


def test_below_a_row_stand_what_was_measured_and_the_difference():
    (table,) = laid_out(a=imagenet_run("1"))
    measured = numbers(table, "IN-1.3M (conv_5_1)", "a: kNN conv_5_1 K=50")
    difference = numbers(table, "IN-1.3M (conv_5_1)", DIFFERENCE)
    paper = numbers(table, "IN-1.3M (conv_5_1)", PAPER)
    wanted = {"tap": "conv_5_1", "k": 50, "weighting": "CBW-D", "combination": "soft", "delta": 0.06, "topk": 1}
    (row,) = (r for r in imagenet_run().results if wanted.items() <= r.items() and r["threat"] == "black_box"
              and r["attack"] == "PGD-sign")  # fmt: skip
    assert float(measured["Black box CBW-D"]) == row["accuracy"]
    for column, text in difference.items():
        away = float(measured[column]) - float(paper[column])
        assert float(text.replace("−", "-")) == pytest.approx(away)
    assert [row[1] for row in table.rows[:2]] == [PAPER, PAPER]  # of which no run is


def test_table_2_has_defenses_in_rows_and_nothing_beside_what_is_quoted():
    (table,) = laid_out(a=with_rival("crops"))
    assert (table.over, table.head) == ([], ["Defense", "Source", "Clean", "Gray box", "Black box"])
    assert table.rows[0] == ["No defense", PAPER, ".761", ".038", ".046"]
    assert table.rows[1][:2] == ["", "a"]
    assert numbers(table, "Crop ensemble", "a: crops") is not None
    quoted = [place for place, row in enumerate(table.rows) if row[1] == QUOTED]
    assert [table.rows[place][0] for place in quoted] == ["Ensemble training", "ALP", "RA-CNN"]
    assert all(table.rows[place + 1][0] for place in quoted)
    assert table.rows[quoted[0]][2:] == ["–", "–", ".051"]
    assert "RA-CNN: of a ResNet-18" in table.caption
    assert "IN-1.3M CBW-D is .471, .286, .312 in Table 1" in table.caption


def test_table_4_has_combinations_over_weightings():
    (table,) = laid_out(a=imagenet_run("4"))
    settings, combinations = table.over
    assert settings == [("", 2), ("Clean", 6), ("Gray box", 6), ("Black box", 6)]
    assert combinations == [("", 2), *[("Soft", 3), ("Hard", 3)] * 3]
    assert len(table.head) == 20
    assert numbers(table, "IN-1.3M (conv_5_1)", PAPER)["Gray box Hard CBW-D"] == ".293"
    assert numbers(table, "IN-1.3M (conv_5_1)", "a: kNN conv_5_1 K=50")["Clean Hard UW"] == ".978"


def test_runs_at_one_place_have_rows_of_their_own_and_another_setting_is_marked():
    first, other = laid_out(a=imagenet_run("2"), b=changed(QUERIES, {"class_path": "CIFAR10"}), c=imagenet_run("2"))
    assert (first.name, other.name) == ("paper-table-1", "paper-table-2")
    assert [row[1] for row in first.rows[-2:]] == ["b: kNN conv_5_1 K=50", ELSEWHERE]
    assert "* In another setting than the paper's." in first.caption
    assert [row[1] for row in other.rows[:5]] == [PAPER, "a", DIFFERENCE, "c", DIFFERENCE]
    assert "In another setting" not in other.caption


def test_several_taps_that_are_as_near_have_rows_of_their_own():
    record = imagenet_run("1")
    rows = [row for row in record.results if row["tap"] != "conv_5_1"]
    more = [row | {"tap": "conv_3_4"} for row in rows if row["tap"]]
    (table,) = laid_out(a=dataclasses.replace(record, results=[*rows, *more]))
    assert [row[1] for row in table.rows if row[1].startswith("a")] == [
        "a: kNN conv_4_6 K=50",
        "a: kNN conv_3_4 K=50",
    ]


def test_the_interval_in_the_caption_is_the_widest():
    found = beside(imagenet_run("1"), 0.06)
    (table,) = paper_tables({"a": found})
    rows = [one.measured for one in found]
    half = max(max(row["high"] - row["accuracy"], row["accuracy"] - row["low"]) for row in rows)
    assert f"within ±{half:.3f}".replace("0.", ".") in table.caption


def test_without_a_place_there_is_none():
    assert laid_out(a=make_record(), b=changed(["paper"], {"figure": "5"})) == []
