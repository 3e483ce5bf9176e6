import base64
import json
from html.parser import HTMLParser
from urllib.parse import unquote

from lit_knn.report.rendering.document import Figure, Folded, Heading, Links, Live, Paragraph, Table
from lit_knn.report.rendering.web_page import ADDRESS, SCRIPTS, fragment, web_page

NASTY = "</title><script>alert('x')</script> & \"Δ\""


class Reader(HTMLParser):
    """Collects tags, attributes and text, and minds that what is opened is closed."""

    VOID = ("meta", "img")

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(tmp_path, text=NASTY):
    picture = tmp_path / "a.png"
    picture.write_bytes(bytes(range(256)))
    table = Table([text, "n"], [[text, "1"]], caption=text)
    blocks = [Heading(text, 1), Paragraph(text, warning=True), table, Folded(text, [Figure(picture, text)])]
    blocks.append(Live("curves", {"text": [text]}, [Paragraph(text)]))
    return Reader(web_page(blocks, tmp_path))


def test_text_stays_text_wherever_it_stands(tmp_path):
    page = read(tmp_path)
    assert page.tags.count("script") == len(SCRIPTS) + 2  # its own, and data
    assert page.tags == read(tmp_path, "harmless").tags
    assert (
        page.texts.count(NASTY) == 1 + 1 + 1 + 3 + 1 + 1
    )  # title, heading, paragraph, table, summary, in place of curves
    assert (
        json.dumps({"text": [NASTY]}, separators=(",", ":"), ensure_ascii=False).replace("<", r"\u003c") in page.texts
    )
    assert ("alt", NASTY) in page.attributes


def test_nothing_is_fetched_and_pictures_are_inside(tmp_path):
    page = read(tmp_path)
    (source,) = (value for name, value in page.attributes if name in ("src", "href"))
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == bytes(range(256))
    style = page.texts[page.texts.index("\n", page.texts.index(NASTY)) + 1]
    assert "url(" not in style
    assert "@import" not in style


def test_words_are_told_from_numbers(tmp_path):
    page = web_page([Table(["a", "b"], [["x", "1"]])], tmp_path)
    assert '<td class="word">x</td><td>1</td>' in page


def test_long_names_may_go_on_in_the_next_line_and_numbers_may_not(tmp_path):
    table = Table(["model.attacks", "a.b"], [["PGD(SoftKNN), runs/white_box, 0.05", "a.b"], ["<a/b>", "1"]])
    page = web_page([table], tmp_path)
    assert '<th class="word">model.<wbr/>attacks</th><th>a.b</th>' in page
    assert '<td class="word">PGD(SoftKNN), runs/<wbr/>white_<wbr/>box, 0.05</td><td>a.b</td>' in page
    assert '<td class="word">&lt;a/<wbr/>b&gt;</td>' in page


def sources(page):
    return [value for name, value in Reader(page).attributes if name == "src"]


def test_many_pictures_stay_where_they_lie_and_drawings_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr("lit_knn.report.rendering.web_page.LARGEST", 0)
    (tmp_path / "runs" / "a&b").mkdir(parents=True)
    (picture := tmp_path / "runs" / "a&b" / "c.png").write_bytes(bytes(256))
    (drawing := tmp_path / "d.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><text>Δ "&amp;"</text></svg>')
    folder = tmp_path / "report"
    blocks = [Figure(picture, "a"), Figure(drawing, "b"), Folded("more", [Figure(picture, "c")])]
    linked, drawn = "../runs/a%26b/c.png", sources(fragment([Figure(drawing, "b")]))[0]
    assert unquote(drawn.removeprefix("data:image/svg+xml,")) == drawing.read_text()
    none = web_page(blocks, folder)
    assert sources(none) == [linked, drawn, linked]
    for pictures in (1, 2):  # in the order of the document
        room = pictures * (4 * 256 // 3 + ADDRESS) + len(none.encode())
        monkeypatch.setattr("lit_knn.report.rendering.web_page.LARGEST", room)
        page = web_page(blocks, folder)
        inside = sources(fragment([Figure(picture, "a")]))
        assert sources(page) == [*inside, drawn, *(inside if pictures == 2 else [linked])]
        assert len(page.encode()) <= room
    assert sources(fragment(blocks)) == [*inside, drawn, *inside]


def test_headings_are_linked_below_the_title(tmp_path):
    chapters = {"b & c": ["run 1", "run 2"], "d": [], "e": [f"part {n}" for n in range(9)]}
    blocks = [Heading("a", 1)]
    for chapter, sections in chapters.items():
        blocks += [Heading(chapter), *(Heading(section, 3) for section in sections)]
    page = web_page(blocks, tmp_path)
    links = [unquote(value)[1:] for name, value in Reader(page).attributes if name == "href"]
    anchors = [value for name, value in Reader(page).attributes if name == "id"]
    assert links[:3] == ["b-&-c", "d", "e"]
    assert sorted(links) == sorted(anchors[1:])
    nav = page[page.index("<nav") : page.index("</nav>")]
    few, many = nav.split("<details")[1:]
    assert few.startswith(" open><summary>b &amp; c: 2 sections</summary>")
    assert many.startswith("><summary>e: 9 sections</summary>")
    assert (few.count("<a "), many.count("<a ")) == (2, 9)
    assert page.index("</h1>") < page.index("<nav") < page.index("<h2")


def test_an_inspector_is_left_out_where_its_data_has_no_room(tmp_path, monkeypatch):
    (picture := tmp_path / "a.jpg").write_bytes(bytes(300))
    live = Live("neighbors", {"run": "x" * 500}, [Paragraph("still")], [picture])
    assert web_page([live], tmp_path).count("data:image/jpeg;base64,") == 1
    size = len(web_page([Paragraph("still")], tmp_path).encode())
    for room, inspector, source in ((500, False, False), (700, True, False), (1200, True, True)):
        monkeypatch.setattr("lit_knn.report.rendering.web_page.LARGEST", size + room)
        page = web_page([live], tmp_path)
        assert "still" in page
        assert len(page.encode()) <= size + room
        assert ("xxx" in page, "data:image/jpeg" in page) == (inspector, source)
        assert ('["a.jpg"]' in page) == (inspector and not source)


def test_links_and_a_head_of_several_lines(tmp_path):
    over = [[("", 1), ("Gray", 2)]]
    blocks = [Links(NASTY, [tmp_path / "a b.csv"]), Table(["w", "n", "m"], [["x", "1", "2"]], over=over)]
    page = Reader(web_page(blocks, tmp_path))
    assert ("href", "a%20b.csv") in page.attributes
    assert f"{NASTY} " in page.texts
    assert page.attributes.count(("colspan", "2")) == page.attributes.count(("colspan", "1")) == 1
    assert page.tags.count("th") == 1 + 3
