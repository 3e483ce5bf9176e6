from typing import get_args

from lit_knn.report.rendering import document
from lit_knn.report.rendering.document import Folded, Heading, Table, named_tables
from lit_knn.report.rendering.markdown import markdown
from lit_knn.report.rendering.web_page import web_page


def test_every_block_can_be_rendered_both_ways(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    blocks = {
        document.Heading("words"),
        document.Paragraph("words"),
        document.Figure(tmp_path / "a.png", "words"),
    }
    others = [document.Table(["words"], [["cell"]]), document.Folded("words", [document.Paragraph("inner")])]
    others.append(document.Links("words", [tmp_path / "a.png"]))
    others.append(document.Live("curves", {}, [document.Paragraph("words")]))
    assert {type(block) for block in [*blocks, *others]} == set(get_args(document.Block))
    for block in [*blocks, *others]:
        assert "words" in web_page([block], tmp_path)
        assert "words" in markdown([block], tmp_path)


def test_the_head_of_a_table_with_lines_over_it():
    over = [[("", 1), ("Clean", 3)], [("", 1), ("Soft", 2), ("Hard", 1)]]
    table = Table(["Database", "UW", "CBW-D", "UW"], [], over=over)
    assert table.heads == [["Database"], ["Clean", "Soft", "UW"], ["Clean", "Soft", "CBW-D"], ["Clean", "Hard", "UW"]]
    assert table.whole_head == ["Database", "Clean Soft UW", "Clean Soft CBW-D", "Clean Hard UW"]
    assert Table(["a", ""], []).whole_head == ["a", ""]


def test_tables_with_a_name_are_found_wherever_they_stand():
    a, b = Table(["a"], [], name="a"), Table(["b"], [], name="b")
    assert [*named_tables([a, Heading("x"), Folded("x", [Table(["c"], []), b])])] == [a, b]
