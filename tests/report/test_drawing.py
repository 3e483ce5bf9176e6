from pathlib import Path

import pytest

from lit_knn.errors import WriteError
from lit_knn.report.drawing import run_figures, sizes_figure
from lit_knn.report.results.runs import Run
from tests.report.conftest import make_record
from tests.report.figures.test_attacker_databases import record as with_attackers
from tests.report.figures.test_neighbor_counts import record as with_counts
from tests.report.test_rejection import make_rejecting


def drawn(record, folder, many=False):
    figures = run_figures(Run("a/run", Path(), record), folder, "run", many=many)
    assert {path for figure in figures for path in figure.files} == {*folder.iterdir()}
    return {figure.path.name: figure.text for figure in figures}


def test_each_figure_is_a_picture_and_a_drawing(tmp_path):
    (figure,) = run_figures(Run("a/run", Path(), make_record()), tmp_path, "run", many=False)
    assert [path.name for path in figure.files] == ["accuracy-run.png", "accuracy-run.svg"]
    assert figure.text == "Accuracy against Δ of a/run"
    assert figure.path.read_bytes().startswith(b"\x89PNG")
    assert figure.drawing.read_text().startswith("<?xml")


@pytest.mark.parametrize("many", [False, True])
def test_what_a_run_has_varied_is_drawn(tmp_path, many):
    kind = "svg" if many else "png"
    for name, record in (("k", with_counts()), ("box", with_attackers({"rows": 0.1}, {"rows": 0.5}, {})),
                         ("no", make_rejecting())):  # fmt: skip
        (tmp_path / name).mkdir()
        found = drawn(record, tmp_path / name, many)
        other = {"k": "neighbors", "box": "attacker-rows", "no": "coverage"}[name]
        assert list(found) == [f"accuracy-run.{kind}", f"{other}-run.{kind}"]
        assert found[f"{other}-run.{kind}"].startswith("Accuracy against")


def test_overlap_is_the_papers_figure_6_c(tmp_path):
    found = drawn(with_attackers({"overlap": 0.0}, {"overlap": 0.5}, {}), tmp_path)
    assert "Figure 6 c" in found["attacker-overlap-run.png"]


def test_sizes_are_drawn_where_there_are_several(tmp_path):
    assert sizes_figure([Run("a", Path(), make_record())], tmp_path) is None
    figure = sizes_figure([Run("a", Path(), make_record(sizes=(100, 1000)))], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"database-size.png", "database-size.svg"}
    assert figure.files == [tmp_path / "database-size.png", tmp_path / "database-size.svg"]


def test_a_figure_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "accuracy-run.svg").mkdir()
    with pytest.raises(WriteError, match=r"accuracy-run\.svg cannot be written"):
        run_figures(Run("a", Path(), make_record()), tmp_path, "run", many=True)
