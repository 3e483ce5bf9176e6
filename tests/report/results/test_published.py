import math
from pathlib import Path

import pytest

from lit_knn.errors import UserError
from lit_knn.report.results.published import Place, disagreement, figures, lines, others, place, shows

PAPER = Path(__file__).parents[4] / "shared" / "paper.md"
needs_paper = pytest.mark.skipif(not PAPER.exists(), reason="needs the paper's text")
WEIGHTINGS = ("UW", "CBW-E", "CBW-D")


def printed(start, end):
    """Return the cells of a table in the paper's text: the tables' rows by their first cell, blanks left out."""
    text = PAPER.read_text()
    text = text[: text.index(end)]
    rows = [line.split("\t") for line in text[text.rindex(start) :].splitlines()]
    return {cells[0]: [cell for cell in cells[1:] if cell] for cells in rows if len(cells) > 2}


@needs_paper
@pytest.mark.parametrize(
    ("table", "start", "end", "combinations"),
    [("1", "Image database\tUW", "Table 1. ", ["soft"]), ("4", "Image database\tUW", "Table 4. ", ["soft", "hard"])],
)
def test_retrieval_is_as_printed_in_tables_1_and_4(table, start, end, combinations):
    rows = printed(start, end)
    mine = [line for line in lines() if line.table == table]
    assert len(mine) == 3 * 3 * len(combinations)
    for line in mine:
        cells = [float(cell) for cell in rows[f"{line.row} ({line.tap})"]]
        column = combinations.index(line.combination) * 3 + WEIGHTINGS.index(line.weighting)
        assert list(line.accuracies.values()) == cells[column :: 3 * len(combinations)]
        assert list(line.accuracies) == ["clean", "gray box", "black box"]


@needs_paper
def test_all_of_table_2_is_as_printed():
    found = printed("Defense\tClean", "Table 2. ")
    rows = {name.partition(" [")[0].partition(" (")[0]: cells for name, cells in found.items() if len(cells) == 3}
    del rows["Defense"]
    mine = {line.row: line for line in lines() if line.table == "2"}
    assert [*mine] == [*rows]
    for name, cells in rows.items():
        known = [mine[name].accuracies.get(setting, math.nan) for setting in ("clean", "gray box", "black box")]
        assert known == pytest.approx([math.nan if cell == "-" else float(cell) for cell in cells], abs=0, nan_ok=True)


def test_what_the_paper_took_from_elsewhere_is_marked():
    quoted = {line.row: line.note for line in lines() if line.kind == "quoted"}
    assert [*quoted] == ["Ensemble training", "ALP", "RA-CNN"]
    assert all(quoted.values())


def test_where_the_paper_disagrees_with_itself_both_are_told():
    contested = {(line.table, line.row): disagreement(line, "clean") for line in lines() if disagreement(line, "clean")}
    assert contested == {
        ("1", "IN-1.3M"): "Table 2 has .462",
        ("2", "IN-1.3M"): "Table 1 has .471, Table 4 has .471",
        ("4", "IN-1.3M"): "Table 2 has .462",
    }


def test_figures_have_no_numbers():
    assert [*figures()] == [str(number) for number in range(2, 13)]
    assert figures()["6"].panels == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "found", "text"),
    [
        (None, None, "None"),
        ({"table": "2", "row": "IN-1.3M"}, Place("2", "IN-1.3M"), "Table 2, IN-1.3M"),
        ({"table": 4, "row": "IG-50B-All"}, Place("4", "IG-50B-All"), "Table 4, IG-50B-All"),
        ({"table": "2", "row": "No defense"}, Place("2", "No defense"), "Table 2, No defense"),
        ({"figure": 5, "panel": "gray"}, Place(figure="5", panel="gray"), "Figure 5, gray"),
        ({"figure": "12"}, Place(figure="12"), "Figure 12"),
    ],
)
def test_a_place(given, found, text):
    assert place(given) == found
    assert str(place(given)) == text


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, r"paper is {}; one place is accepted, such as {table: '2', row: IN-1.3M} or"),
        ("2", "paper is '2'; one place"),
        ({"tabel": 2}, "paper is {'tabel': 2}; one place"),
        ({"table": "3", "row": "x"}, "paper.table is '3'; accepted are 1, 2, 4"),
        ({"table": "1"}, "paper.row is ''; accepted are IG-50B-All, IG-1B-Targeted, IN-1.3M"),
        ({"table": "1", "row": "YFCC-100M"}, "paper.row is 'YFCC-100M'; accepted are IG-50B-All"),
        (
            {"table": "2", "row": "ALP"},
            "paper.row is ALP, which the paper quotes from elsewhere: no run stands beside it",
        ),
        ({"row": "ALP"}, "paper.table is ''; accepted are 1, 2, 4"),
        ({"figure": 13}, "paper.figure is '13'; accepted are 2, 3, "),
        ({"figure": 4, "panel": "white"}, "paper.panel is 'white'; accepted are gray, black"),
        ({"figure": 2, "panel": "a"}, "paper.panel is 'a'; accepted are none, as it has one panel"),
        ({"panel": "a"}, "paper.figure is ''; accepted are 2"),
        ({"table": "1", "row": "IN-1.3M", "figure": "5"}, "names a table and a figure; one of both is accepted"),
    ],
)
def test_a_place_that_there_is_not(given, sentence):
    with pytest.raises(UserError) as refused:
        place(given)
    assert sentence in str(refused.value)


def test_every_table_says_what_it_shows():
    assert {line.table: bool(shows(line.table)) for line in lines()} == {"1": True, "2": True, "4": True}


def test_other_numbers_of_the_same():
    two = next(line for line in lines() if (line.table, line.row) == ("2", "IN-1.3M"))
    assert [(other.table, other.accuracies["clean"]) for other in others(two)] == [("1", 0.471), ("4", 0.471)]
    assert others(lines()[0]) == []
