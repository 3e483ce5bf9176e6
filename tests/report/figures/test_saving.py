import pytest
from matplotlib.figure import Figure

from lit_knn.errors import WriteError
from lit_knn.report.figures.saving import save_figure


def test_a_figure_has_the_format_of_its_name(tmp_path):
    for name, start in (("a.png", b"\x89PNG"), ("deep/a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        save_figure(Figure(), tmp_path / name, dpi=20)
        assert (tmp_path / name).read_bytes().startswith(start)


def test_a_figure_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(WriteError, match=r"a.png cannot be written: Is a directory"):
        save_figure(Figure(), tmp_path / "a.png", dpi=20)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_several_formats_of_one_figure_are_arranged_alike_and_equal_figures_are_equal_bytes(tmp_path):
    for name in "ab":
        figure = Figure(figsize=(3, 2), layout="constrained")
        figure.subplots().set_ylabel("text that stays text")
        save_figure(figure, tmp_path / f"{name}.png", tmp_path / f"{name}.svg", dpi=50)
    for suffix in ("png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert "text that stays text" in (tmp_path / "a.svg").read_text()
    assert "<dc:date>" not in (tmp_path / "a.svg").read_text()
