from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from lit_knn.report.rendering.document import Figure, Folded, Heading, Links, Paragraph, Table
from lit_knn.report.rendering.markdown import markdown

NASTY = "a|b *c* _d_ <b> `e` [f](g) \\ #h & ~~i~~"


def rendered(*blocks):
    return MarkdownIt().enable(["table", "strikethrough"]).parse(markdown(blocks, Path("/out")))


def texts(tokens):
    for token in tokens:
        if token.type == "inline":
            yield "".join(child.content for child in token.children)


@pytest.mark.parametrize("block", [Heading(NASTY), Paragraph(NASTY), Table([NASTY], [[NASTY]], caption=NASTY)])
def test_text_reads_back_through_a_markdown_parser(block):
    found = list(texts(rendered(block)))
    assert found == [NASTY] * (3 if isinstance(block, Table) else 1)


def test_a_table_has_its_cells_and_sides():
    tokens = rendered(Table(["w", "n"], [["x", "1"], ["", "2"]]))
    assert list(texts(tokens)) == ["w", "n", "x", "1", "", "2"]
    assert [t.attrs.get("style") for t in tokens if t.type == "td_open"] == [None, "text-align:right"] * 2


def test_pictures_are_seen_from_the_folder_of_the_text():
    blocks = [Folded("more", [Figure(Path("/runs/run 1/a.png"), "what")])]
    (image,) = (c for t in rendered(*blocks) for c in t.children or [] if c.type == "image")
    assert image.attrs["src"] == "../runs/run%201/a.png"
    assert markdown(blocks, Path("/out")).startswith("**more**")


def test_a_warning_is_set_off():
    assert markdown([Paragraph("mind", warning=True)], Path()).startswith("> **Note:** mind")


def test_links_and_a_head_of_several_lines():
    (links,) = rendered(Links(NASTY, [Path("/out/tables/a b.csv"), Path("/out/c.tex")]))[1:2]
    assert "".join(c.content for c in links.children) == f"{NASTY} a b.csv, c.tex"
    assert [c.attrs["href"] for c in links.children if c.type == "link_open"] == ["tables/a%20b.csv", "c.tex"]
    table = Table(["w", "n", "m"], [["x", "1", "2"]], over=[[("", 1), ("Gray box", 2)]])
    assert list(texts(rendered(table)))[:3] == ["w", "Gray box n", "Gray box m"]
