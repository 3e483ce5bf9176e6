import io
from xml.etree import ElementTree

import pytest
from PIL import Image

from lit_knn.errors import UserError
from lit_knn.report.results.breaks import BREAKS_FILE
from lit_knn.report.run_view import RunView
from tests.report.conftest import make_record


@pytest.fixture
def view(tmp_path):
    make_record(cases=[("gray_box", "PGD")]).save(tmp_path)
    return RunView(str(tmp_path))


def test_a_run_is_shown_as_its_record_says(view, record):
    assert view.folder.name in repr(view)
    none = next(line for line in repr(view).splitlines() if line.split()[:1] == ["none"])
    assert none.split() == ["none", "1.000", ".301", ".027"]
    assert "gray box, PGD: at Δ = 0.02 the accuracy is none .301" in repr(view)
    assert "\x1b" not in repr(view)


def test_what_broke_each_image_is_named_where_it_is_known(view):
    assert BREAKS_FILE not in repr(view)
    (view.folder / BREAKS_FILE).touch()
    assert repr(view).splitlines()[-1] == f"Which attack broke each image: {view.folder / BREAKS_FILE}"


def test_the_table_is_all_rows_and_looks_like_the_table(view):
    assert len(view.table) == len(view.record.results) > 24
    assert view.table[0] == view.record.results[0]
    assert view.table[:2] == list(view.table)[:2]
    assert view.table[0]["accuracy"] == 1.0
    assert "gray box, PGD" in repr(view.table)
    assert "Record, results" not in repr(view.table)


def test_a_notebook_gets_html_and_markdown_with_the_same_cells(view):
    page = ElementTree.fromstring(f"<div>{view.table._repr_html_()}</div>")
    rows = [[cell.text for cell in row] for row in page.iter("tr")]
    lines = [line.strip("| ").split(" | ") for line in view.table._repr_markdown_().splitlines()]
    assert rows[0] == ["attack", "defense", "Δ = 0", "Δ = 0.02", "Δ = 0.06"] == lines[0]
    assert rows[1] == ["gray box, PGD", "none", "1.000", ".301", ".027"] == lines[2]
    for text in (view._repr_html_(), view._repr_markdown_()):
        assert "the accuracy is none .301" in text
        assert ".301" in text


def test_a_notebook_gets_the_figure_without_pyplot(view):
    figure = view.curve()
    line = figure.axes[0].lines[0]
    assert line.get_ydata().tolist() == [1.0, 0.301, 0.027]
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG"
        assert picture.convert("L").getextrema()[0] < 100


def test_a_folder_without_record(tmp_path):
    with pytest.raises(UserError, match="no record can be read there"):
        RunView(tmp_path)
