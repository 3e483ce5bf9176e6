import dataclasses
import io

import pytest
from rich.console import Console

from lit_knn.errors import UserError
from lit_knn.report.table import accuracy_table, cost_table, cut
from tests.report.conftest import make_record


def printed(record, width, make=accuracy_table, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(make(record))
    return console.file.getvalue()


def test_says_what_was_measured(record):
    text = printed(record, 100)
    cells = [line.split() for line in text.splitlines()]
    assert ["defense", "0", "0.02", "0.06"] in cells
    assert text.count("gray box, PGD") == text.count("black box, PGD") == 1
    assert cells.count(["none", "1.000", ".301", ".027"]) == 2
    assert [line for line in cells if line[:1] == ["passes"]] == [["passes", "–", "–", "20"]]  # of the gray box
    for part in (
        "Top-1",
        "1,000 queries",
        "intervals within ±.0",
        "K=50, CBW-D, soft",
        "22 more variants in results.csv",
        "passes: mean of an image, forward and backward",
    ):
        assert part in text


def test_sizes_in_the_units_of_others():
    text = printed(make_record(deltas=(0.0, 4 / 255, 8 / 255), norm="linf"), 100)
    assert ["defense", "0", "4/255", "8/255"] in [line.split() for line in text.splitlines()]
    assert "Top-1 accuracy at L∞ = ‖x*−x‖∞" in text
    assert "at L2 = ‖x*−x‖₂ " in printed(make_record(norm="l2"), 100)


@pytest.mark.parametrize("width", [80, 120])
def test_seven_deltas_eight_rows_and_four_panels_fit(width):
    cases = [(threat, attack) for threat in ("gray_box", "black_box") for attack in ("PGD", "RandomNoise")]
    taps = ["conv_2_3", "conv_3_4", "conv_4_6", "conv_5_1", "layer4.0.add", "layer3.5.add", "layer2.3.add"]
    text = printed(make_record(cases, taps, (0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1)), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert sum(line.strip().startswith(("none", "kNN")) and len(line.split()) >= 8 for line in lines) == 4 * 8


def test_the_best_of_each_column_is_bold_and_brackets_are_no_markup():
    record = make_record(taps=["blocks[3]"])
    bold = printed(record, 100, force_terminal=True, color_system="standard").split("\x1b[1m")
    assert any(part.lstrip().startswith("1.000") for part in bold)
    assert "kNN blocks[3]" in printed(record, 100)


def test_a_budget_that_a_case_left_out_is_a_dash(record):
    rows = [row for row in record.results if row["threat"] == "gray_box" or row["delta"] > 0]
    assert "–" in printed(dataclasses.replace(record, results=rows), 100)


def test_a_record_without_passes(record):
    assert "passes" not in printed(dataclasses.replace(record, passes=[]), 100)


def test_no_results(record):
    with pytest.raises(UserError, match="no results"):
        accuracy_table(dataclasses.replace(record, results=[]))


def test_a_text_is_cut_where_it_is_too_long():
    assert [cut("abcd", longest) for longest in (5, 4, 3)] == ["abcd", "abcd", "ab…"]


def test_costs_of_defenses_stand_beside_none(record):
    cells = [line.split() for line in printed(record, 120, cost_table).splitlines()]
    assert ["defense", "random", "gradient", "passes", "images/s", "×", "none"] in cells
    assert ["none", "no", "own", "1", "1,000", "1.00"] in cells
    assert ["noisy", "×30", "yes", "lent", "30", "32.8", "30.5"] in cells


def test_costs_fit_into_a_narrow_window(record):
    long = "kNN layer3.8.add K=50 cosine(T=0.07) soft"
    record = dataclasses.replace(record, costs=[*record.costs, record.costs[0] | {"defense": long}])
    text = printed(record, 60, cost_table)
    assert "…" not in text
    assert ["defense", "random", "gradient", "passes", "images/s", "×", "none"] in map(str.split, text.splitlines())
