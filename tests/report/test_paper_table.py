from pathlib import Path

from lit_knn.report.paper_table import paper_comparison
from lit_knn.report.rendering.document import Paragraph
from lit_knn.report.results.runs import Run
from tests.report.conftest import make_record
from tests.report.results.test_paper import imagenet_run


def test_only_runs_in_the_setting_of_the_paper_are_beside_it():
    table = paper_comparison([Run("in", Path(), imagenet_run()), Run("a", Path(), make_record())])
    assert {row[0] for row in table.rows} == {"in"}
    assert ["in", "no defense", "gray box", "Table 2", ".038", ".027 (.019–.039)", "1,000"] in table.rows
    assert ["IN-1.3M, kNN conv_5_1 K=50 UW soft", "gray box", "Table 1", ".285"] in [row[1:5] for row in table.rows]
    assert "hard cap" in table.caption


def test_without_any_it_says_so():
    sentence = paper_comparison([Run("a", Path(), make_record())])
    assert isinstance(sentence, Paragraph)
    assert "none of the paper's numbers is shown" in sentence.text
