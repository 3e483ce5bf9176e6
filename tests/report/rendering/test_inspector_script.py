"""The neighbor inspector, in a real browser."""

import itertools

import pytest

from lit_knn.report.rendering.document import Heading, Live, Paragraph
from lit_knn.report.rendering.web_page import web_page
from lit_knn.report.results import Run
from lit_knn.report.results.inspected import read_inspected
from tests.report.conftest import make_inspected, make_record

pytestmark = pytest.mark.slow

TEXTS = "[...document.querySelectorAll('.pictures figcaption')].map((one) => one.innerText.split('\\n'))"
PICTURES = (
    "[...document.querySelectorAll('.pictures svg')].map((one) => [one.getAttribute('viewBox'), "
    "one.querySelector('image').getAttribute('href')])"
)


@pytest.fixture
def page(tmp_path):
    run = Run("a", tmp_path, make_record())
    make_inspected(run)
    found = read_inspected(run)
    live = Live("neighbors", found.data, [Paragraph("still")], found.sheets)
    (path := tmp_path / "page.html").write_text(web_page([Heading("Title", 1), live], tmp_path))
    return path


def test_each_choice_changes_the_pictures_from_the_keyboard(chromium, page):
    chromium.open(page, width=360)
    chromium.run("new Promise((ready) => requestAnimationFrame(() => setTimeout(ready, 50)))")
    assert chromium.run("document.documentElement.scrollWidth") == 360
    texts = chromium.run(TEXTS)
    assert [text[0] for text in texts] == ["query", "attacked", "difference × 3.00", "neighbor 1", "neighbor 2"]
    assert texts[3][1:] == ["✓ class 0 0.50", "distance 0.5000", "CBW-D 2.00", "row 0"]
    seen = [chromium.run(PICTURES)]
    for choice in ("query", "attack", "perturbation", "tap"):
        chromium.press("Tab")
        chromium.press("ArrowUp" if choice == "perturbation" else "ArrowDown")
        seen.append(chromium.run(PICTURES))
    assert all(one != other for one, other in itertools.pairwise(seen))
    texts = chromium.run(TEXTS)  # the second query, clean, at the second tap
    assert [text[0] for text in texts] == ["query", "neighbor 1", "neighbor 2"]
    assert texts[1][-1] == "row 1,000"
    assert chromium.complaints == []


def test_without_a_script_the_picture_stands_still(chromium, page):
    chromium.open(page, script=False)
    assert chromium.run("document.querySelector('.still').innerText") == "still"
