from typing import get_args

from lit_knn.report.rendering import document
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
    others.append(document.Live("curves", {}, [document.Paragraph("words")]))
    assert {type(block) for block in [*blocks, *others]} == set(get_args(document.Block))
    for block in [*blocks, *others]:
        assert "words" in web_page([block], tmp_path)
        assert "words" in markdown([block], tmp_path)
