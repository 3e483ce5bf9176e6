import dataclasses

import pytest
from PIL import Image

from lit_knn.errors import UserError
from lit_knn.report.figures.curves import _styles, accuracy_curves
from tests.report.conftest import make_record


@pytest.mark.parametrize("panels", [1, 2, 4, 5])
def test_draws_any_number_of_panels(panels, tmp_path):
    record = make_record(cases=[("gray_box", f"attack${n}") for n in range(panels)])
    path = accuracy_curves(record, tmp_path / "new" / "curves.png")
    with Image.open(path) as image:
        assert image.width > 600
        assert image.convert("L").getextrema()[0] < 100  # something dark on white


def test_every_line_can_be_told_apart():
    labels = ["none", *(f"kNN layer{n}" for n in range(20))]
    styles = _styles(labels)
    assert len({(style["color"], style["linestyle"], style["marker"]) for style in styles}) == len(labels)
    assert _styles(["kNN a", "none"])[1] == styles[0]


def test_no_results(record, tmp_path):
    with pytest.raises(UserError, match="no results"):
        accuracy_curves(dataclasses.replace(record, results=[]), tmp_path / "curves.png")


def test_sizes_in_the_units_of_others(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("lit_knn.report.figures.curves.save_figure", lambda figure, *_, **__: drawn.append(figure))
    accuracy_curves(make_record(norm="linf", deltas=(0.0, 4 / 255, 8 / 255)), tmp_path / "a.png")
    accuracy_curves(make_record(norm="l2"), tmp_path / "b.png")
    linf, l2 = (figure.axes[0] for figure in drawn)
    assert (linf.get_xlabel(), l2.get_xlabel()) == ("L∞ = ‖x*−x‖∞", "L2 = ‖x*−x‖₂")
    assert [label.get_text() for label in linf.get_xticklabels()] == ["0", "4/255", "8/255"]
