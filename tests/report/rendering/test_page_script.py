"""What a reader sees and does, in a real browser."""

import pytest

from lit_knn.report.rendering.document import Folded, Heading, Paragraph, Table
from lit_knn.report.rendering.web_page import web_page

pytestmark = pytest.mark.slow

TABLE = Table(
    ["run", "defense", "accuracy", "rows"],
    [
        ["run-10", "none", ".9", "1,000"],
        ["", "kNN", ".511 PGD", "–"],
        ["run-9", "none", "not tried", "50"],
        ["", "kNN", "−.2", "8/255"],
    ],
    2,
    "A caption. " * 9,
)
WIDE = Table(["name", *(f"column {n}" for n in range(30))], [["x" * 90, *("1,000",) * 30]] * 2)
ROWS = "[...document.querySelector('tbody').rows].map((row) => [...row.cells].map((cell) => cell.textContent))"
SORTS = "[...document.querySelector('thead').rows[0].cells].map((cell) => cell.getAttribute('aria-sort'))"


@pytest.fixture
def page(tmp_path):
    blocks = [Heading("Title", 1), TABLE, Paragraph("y" * 200), Folded("more", [WIDE, Paragraph("z" * 200)])]
    (path := tmp_path / "page.html").write_text(web_page(blocks, tmp_path))
    return path


def column(chromium, number):
    return [row[number] for row in chromium.run(ROWS)]


def click_head(chromium, number):
    place = f"document.querySelectorAll('th button')[{number}].getBoundingClientRect()"
    chromium.click(*chromium.run(f"(() => {{ const box = {place}; return [box.x + 3, box.y + box.height / 2]; }})()"))


def test_numbers_sort_as_numbers_and_gaps_come_last(chromium, page):
    chromium.open(page)
    before = chromium.run(ROWS)
    assert before == TABLE.rows
    click_head(chromium, 2)
    assert column(chromium, 2) == ["−.2", ".511 PGD", ".9", "not tried"]
    assert column(chromium, 0) == ["run-9", "run-10", "run-10", "run-9"]  # each says which run it is of
    assert chromium.run(SORTS) == ["none", "none", "ascending", "none"]
    click_head(chromium, 2)
    assert column(chromium, 2) == [".9", ".511 PGD", "−.2", "not tried"]
    click_head(chromium, 3)
    assert column(chromium, 3) == ["8/255", "50", "1,000", "–"]
    assert chromium.run(SORTS) == ["none", "none", "none", "ascending"]
    for _ in range(2):
        click_head(chromium, 3)
    assert chromium.run(ROWS) == before
    assert chromium.complaints == []


def test_the_lowest_line_of_a_head_sorts(chromium, tmp_path):
    over = [[("", 1), ("Clean", 1), ("Gray box", 1)]]
    table = Table(["row", "UW", "UW"], [["a", ".2", ".3"], ["b", ".1", ".4"]], over=over)
    (path := tmp_path / "page.html").write_text(web_page([table], tmp_path))
    chromium.open(path)
    assert chromium.run("document.querySelectorAll('th button').length") == 3
    click_head(chromium, 1)
    assert column(chromium, 0) == ["b", "a"]


def test_words_sort_by_the_numbers_in_them_and_from_the_keyboard(chromium, page):
    chromium.open(page)
    chromium.press("Tab", "Enter")
    assert column(chromium, 0) == ["run-9", "run-9", "run-10", "run-10"]
    chromium.press("Tab", "Enter")
    assert column(chromium, 1) == ["kNN", "kNN", "none", "none"]
    assert chromium.run(SORTS) == ["none", "ascending", "none", "none"]


@pytest.mark.parametrize("script", [True, False])
def test_a_phone_scrolls_tables_and_not_the_page(chromium, page, script):
    chromium.open(page, width=360, script=script)
    if not script:
        assert chromium.run(SORTS) == [None] * 4
    chromium.run("document.querySelector('details').open = true")
    assert chromium.run("document.documentElement.scrollWidth") == 360
    assert chromium.run("[...document.querySelectorAll('.wide')].at(-1).scrollWidth") > 1000


def test_light_and_dark_can_be_read(chromium, page):
    """The contrast that WCAG asks of text, 4.5, everywhere."""
    colors = (
        "[...document.querySelectorAll('h1, th, td, caption, p, summary')].map((one) => getComputedStyle(one).color)"
    )
    seen = []
    for dark in (False, True):
        chromium.open(page, dark=dark)
        paper = chromium.run("getComputedStyle(document.body).backgroundColor")
        seen.append(paper)
        assert min(contrast(color, paper) for color in {*chromium.run(colors)}) >= 4.5
    assert len({*seen}) == 2


def luminance(color):
    channels = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_what_is_folded_is_printed_and_controls_are_not(chromium, page):
    seen = "document.querySelector('details table').checkVisibility()"
    for script in (True, False):
        chromium.open(page, dark=True, script=script)
        assert not chromium.run(seen)
        chromium.call("Emulation.setEmulatedMedia", media="print")
        assert chromium.run(seen)
        assert chromium.run("getComputedStyle(document.body).color") == "rgb(28, 30, 33)"
        if script:
            arrow = "getComputedStyle(document.querySelector('th button'), '::after').display"
            assert chromium.run(arrow) == "none"
            chromium.run("dispatchEvent(new Event('beforeprint'))")
            assert chromium.run("document.querySelector('details').open")
            chromium.run("dispatchEvent(new Event('afterprint'))")
            assert not chromium.run("document.querySelector('details').open")


def test_settings_wrap_where_they_would_not_fit(chromium, tmp_path):
    names = ["model.attacks", "model.deltas", "model.threats", "model.cascade", "model.evaluations", "data.num_queries"]
    attacks = ", ".join(f"PGD({name})" for name in ("FeatureSpace", "NeighborPrediction", "EOT(DefenseMargin)"))
    row = [attacks, "[0.02, 0.05, 0.1]", "gray_box, black_box, white_box", "false", "10", "500"]
    settings = Table(["run", *names, "queries"], [[f"{run}/run-001", *row, "500"] for run in ("adaptive", "b")], 7)
    (path := tmp_path / "page.html").write_text(web_page([settings], tmp_path))
    chromium.open(path, width=1100)
    hidden = "(() => { const box = document.querySelector('.wide'); return box.scrollWidth - box.clientWidth; })()"
    assert chromium.run(hidden) == 0
