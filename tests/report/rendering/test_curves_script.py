"""Curves that answer to pointer and keys, in a real browser."""

import pytest
from PIL import Image

from lit_knn.report.figures.curve_data import curve_data
from lit_knn.report.rendering.document import Figure, Heading, Live
from lit_knn.report.rendering.web_page import web_page
from tests.report.conftest import make_record

pytestmark = pytest.mark.slow

RECORD = make_record()
DRAWN = "document.querySelectorAll('.plot').length"
READ = "document.querySelector('.readout').innerText"
SEEN = "document.querySelector('img').checkVisibility()"
STROKES = "document.querySelector('.plot').querySelectorAll('path[stroke-width]').length"


@pytest.fixture
def page(tmp_path):
    Image.new("RGB", (300, 200)).save(tmp_path / "still.png")
    live = Live("curves", curve_data(RECORD), [Figure(tmp_path / "still.png", "still")])
    (path := tmp_path / "page.html").write_text(web_page([Heading("Title", 1), live], tmp_path))
    return path


def opened(chromium, page, **options):
    """Open it, and draw: without a script nothing would ever be drawn."""
    chromium.open(page, **options)
    if options.get("script", True):
        chromium.run("new Promise((ready) => requestAnimationFrame(() => setTimeout(ready, 50)))")


def told(defense, delta):
    (row,) = (
        row
        for row in RECORD.results
        if (row["threat"], row["topk"], row["delta"]) == ("gray_box", 1, delta)
        and (row["defense"], row["tap"]) == defense
        and row["weighting"] in ("", "CBW-D")
        and row["combination"] in ("", "soft")
        and row["k"] in ("", 50)
    )
    accuracy, low, high = (f"{row[name]:.3f}".removeprefix("0") for name in ("accuracy", "low", "high"))
    return f"{accuracy} [{low}, {high}] n = {row['n']:,}"


def test_the_pointer_reads_the_rows_of_the_record(chromium, page):
    opened(chromium, page)
    assert chromium.run(DRAWN) == 2
    assert not chromium.run(SEEN)
    x, y, width = chromium.run(
        "(() => { const box = document.querySelector('.plot').getBoundingClientRect();"
        " return [box.x, box.y, box.width]; })()"
    )
    chromium.point(x + width * 0.69, y + 40)  # the right end of the axis
    lines = chromium.run(READ).split("\n")
    assert lines[0] == "Δ = 0.06"
    wanted = {"none": ("none", ""), "kNN layer1": ("kNN", "layer1"), "kNN layer2": ("kNN", "layer2")}
    assert [line.strip() for line in lines[1:] if line.strip()] == [
        f"{label} {told(defense, 0.06)}" for label, defense in wanted.items()
    ]
    chromium.point(x, y - 30)
    assert chromium.run(READ) == ""
    assert chromium.complaints == []


def test_the_keyboard_does_all_that_the_pointer_does(chromium, page):
    opened(chromium, page, dark=True)
    chromium.press(*["Tab"] * 3, "Enter")  # the third line goes
    assert chromium.run("[...document.querySelectorAll('[aria-pressed]')].at(-1).ariaPressed") == "false"
    assert chromium.run(STROKES) == 2
    chromium.press("Tab", "ArrowRight", "ArrowRight", "ArrowDown")
    text = chromium.run(READ)
    assert text.startswith("Δ = 0.02")
    assert "layer2" not in text
    assert chromium.run("document.querySelector('.chosen').innerText").strip() == f"none {told(('none', ''), 0.02)}"
    chromium.press("Escape")
    assert chromium.run(READ) == ""
    assert chromium.complaints == []


def test_paper_and_who_has_no_script_see_the_figure(chromium, page):
    opened(chromium, page, script=False)
    assert chromium.run(SEEN)
    opened(chromium, page)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.run(SEEN)
    assert not chromium.run("document.querySelector('.curves').checkVisibility()")


def test_a_phone_has_them_in_one_column(chromium, page):
    opened(chromium, page, width=360)
    assert chromium.run("document.documentElement.scrollWidth") == 360
    assert chromium.run("new Set([...document.querySelectorAll('.plot')].map((p) => p.offsetLeft)).size") == 1
