import csv
import io

import pytest

from lit_knn.report.rendering.comma_separated import comma_separated
from lit_knn.report.rendering.document import Table


def read(table):
    return list(csv.reader(io.StringIO(comma_separated(table))))


def test_every_row_has_all_its_words_and_the_head_is_one_line():
    over = [[("", 2), ("Clean", 2)], [("", 2), ("Soft", 1), ("Hard", 1)]]
    rows = [['a "b", c', "paper", ".632", ".1"], ["", "run-1", "–", "1.000"], ["d", "–", "", ".2"]]
    assert read(Table(["Database", "Source", "UW", "UW"], rows, 2, over=over)) == [
        ["Database", "Source", "Clean Soft UW", "Clean Hard UW"],
        ['a "b", c', "paper", "0.632", "0.1"],
        ['a "b", c', "run-1", "", "1.000"],
        ["d", "–", "", "0.2"],
    ]


@pytest.mark.parametrize(
    ("cell", "written"),
    [("−.015", "-0.015"), ("+.300", "0.300"), ("−1.000", "-1.000"), (".511 PGD", ".511 PGD"), ("1,000", "1,000")],
)
def test_numbers_are_those_of_programs(cell, written):
    assert read(Table(["a", "b"], [["–.5", cell]])) == [["a", "b"], ["–.5", written]]
