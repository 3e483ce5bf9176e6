from PIL import Image

from lit_knn.report.command import report
from lit_knn.report.figures.coverage import coverage_figure
from lit_knn.report.rejection import Kept, kept
from tests.report.test_rejection import make_rejecting


def test_a_panel_for_each_defense(tmp_path):
    points = [
        Kept(line, keep, delta, keep, 0.9, 0.5, 0.3) for line in "ab" for keep in (0.5, 0.9) for delta in (0.1, 0.2)
    ]
    coverage_figure(points[:4], "relative_l2", tmp_path / "one.png")
    coverage_figure(points, "relative_l2", tmp_path / "two.png")
    coverage_figure(points, "relative_l2", tmp_path / "again.png")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.width > one.width
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_a_report_shows_it(tmp_path):
    record = make_rejecting()
    assert kept(record)
    record.save(tmp_path / "runs" / "one")
    report([str(tmp_path / "runs")])
    assert (tmp_path / "runs" / "report" / "coverage-one.png").exists()
    text = (tmp_path / "runs" / "report" / "report.md").read_text()
    assert "coverage-one.png" in text
    assert "robust accuracy at Δ = 0.06" in text


def test_one_threshold_has_the_axis_of_many(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("lit_knn.report.figures.coverage.save_figure", lambda figure, *_, **__: drawn.append(figure))
    points = [Kept("a", keep, 0.1, keep, 0.9, 0.5, 0.3) for keep in (0.95, 0.5, 0.1)]
    coverage_figure(points[:1], "relative_l2", tmp_path / "one.png")
    coverage_figure(points, "relative_l2", tmp_path / "three.png")
    assert [figure.axes[0].get_xlim() for figure in drawn] == [drawn[0].axes[0].get_ylim()] * 2
