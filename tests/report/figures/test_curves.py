import dataclasses

import pytest
from PIL import Image

from lit_knn.errors import UserError
from lit_knn.report.figures.curves import _styles, accuracy_curves, accuracy_figure
from lit_knn.report.headline import headline
from tests.report.conftest import make_record


@pytest.mark.parametrize("panels", [1, 2, 4, 5])
def test_draws_any_number_of_panels(panels, tmp_path):
    record = make_record(cases=[("gray_box", f"attack${n}") for n in range(panels)])
    path = tmp_path / "new" / "curves.png"
    accuracy_curves(record, path)
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


def names(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def test_lines_are_named_at_their_ends_in_the_last_panel_of_each_row():
    cases = [("gray_box", "PGD"), ("gray_box", "APGD"), ("black_box", "PGD"), ("white_box layer1", "PGD")]
    first, second, third, fourth = accuracy_figure(make_record(cases)).axes  # two rows of two
    assert names(first) == names(third) == []
    assert names(second) == names(fourth) == ["none", "kNN layer1", "kNN layer2"]
    ends = [text.xy for text in fourth.texts if not text.get_text()]
    rows = [line.rows[-1] for line in headline(make_record(cases).results).panels[-1].lines]
    assert ends == [(row["delta"], row["accuracy"]) for row in rows]


def test_a_line_that_ends_in_another_panel_is_named_too():
    cases = [("gray_box", "PGD"), ("white_box layer1", "PGD")]
    record = make_record(cases)
    rows = [row for row in record.results if (row["threat"], row["defense"]) != ("white_box layer1", "none")]
    _, last = accuracy_figure(dataclasses.replace(record, results=rows)).axes
    assert names(last) == ["none", "kNN layer1", "kNN layer2"]
    assert len([text for text in last.texts if not text.get_text()]) == 2  # nothing leads to the first


def test_each_line_has_its_wilson_band():
    record = make_record([("gray_box", "PGD")], taps=("layer1",))
    (axes,) = accuracy_figure(record).axes
    for line, band in zip(headline(record.results).panels[0].lines, axes.collections, strict=True):
        drawn = {(round(x, 6), round(y, 6)) for x, y in band.get_paths()[0].vertices}
        ends = {(row["delta"], round(row[end], 6)) for row in line.rows for end in ("low", "high")}
        assert ends <= drawn
