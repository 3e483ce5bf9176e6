import pytest
from PIL import Image

from lit_knn.report.figures.sweep import Point, Sweep, sweep_figure
from tests.report.conftest import make_record

K = Sweep("neighbors K", text=lambda value: f"{value:g}")


def point(x, accuracy, line="kNN", panel="gray box", series="", delta=0.1, half=0.02):
    return Point(line, panel, series, ("relative_l2", delta), x, accuracy, accuracy - half, accuracy + half)


@pytest.fixture
def figure(monkeypatch):
    drawn = []
    monkeypatch.setattr("lit_knn.report.figures.sweep.save_figure", lambda figure, *_, **__: drawn.append(figure))
    return lambda points, sweep=K: (sweep_figure(points, sweep), drawn.pop())[1]


def test_a_row_for_each_defense_and_a_column_for_each_attacker(figure):
    points = [point(x, 0.5, line, panel) for x in (1, 10) for line in "ab" for panel in ("gray", "black", "white")]
    axes = figure(points).axes
    assert [one.get_title() for one in axes] == ["gray", "black", "white", "", "", ""]
    assert [one.get_ylabel() for one in axes[::3]] == ["a\naccuracy", "b\naccuracy"]
    assert [one.get_xlabel() for one in axes] == [""] * 3 + ["neighbors K"] * 3
    assert [text.get_text() for text in axes[2].texts if text.get_text()] == ["Δ = 0.1"]
    assert [text.get_text() for one in axes[:2] for text in one.texts] == []


def test_ticks_are_what_was_measured_on_a_logarithmic_axis_or_not(figure):
    values = [0.05, 0.1, 1.0]
    points = [point(x, 0.5) for x in values]
    for log, scale in ((True, "log"), (False, "linear")):
        (axes,) = figure(points, Sweep("share", log, lambda value: f"{100 * value:g} %")).axes
        assert (axes.get_xscale(), list(axes.get_xticks())) == (scale, values)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["5 %", "10 %", "100 %"]


def test_points_of_one_line_count_as_their_mean_and_so_do_their_intervals(figure):
    (axes,) = figure([point(1, 0.4), point(1, 0.6), point(10, 0.7, half=0.1)]).axes
    line = next(line for line in axes.lines if len(line.get_xdata()) == 2)
    assert list(line.get_ydata()) == pytest.approx([0.5, 0.7])
    band = {(x, round(y, 6)) for x, y in axes.collections[0].get_paths()[0].vertices}
    assert band == {(1, 0.48), (1, 0.52), (10, 0.6), (10, 0.8)}
    dots = next(line for line in axes.lines if len(line.get_xdata()) == 3)
    assert sorted(dots.get_ydata()) == [0.4, 0.6, 0.7]


def test_series_are_told_below_and_sizes_are_named_once(figure):
    drawn = figure([point(x, 0.5, series=name) for x in (1, 2) for name in ("$all_", "targeted")])
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["$all_", "targeted"]
    assert [text.get_text() for text in drawn.axes[0].texts if text.get_text()] == ["Δ = 0.1"]


def test_a_point_is_that_of_a_row():
    row = make_record().results[-1]
    found = Point.of(row, "kNN", "gray box", "", 50)
    assert found == Point("kNN", "gray box", "", ("relative_l2", 0.06), 50, row["accuracy"], row["low"], row["high"])


def test_it_is_written_in_each_format(tmp_path):
    sweep_figure([point(x, x / 100) for x in (1, 10, 100)], K, tmp_path / "a.png", tmp_path / "a.svg")
    with Image.open(tmp_path / "a.png") as image:
        assert image.convert("L").getextrema()[0] < 100
    assert "neighbors K" in (tmp_path / "a.svg").read_text()
