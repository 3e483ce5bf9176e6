import dataclasses
import re
import subprocess
import sys

import pytest

from lit_knn.cli.main import main
from lit_knn.errors import UserError
from lit_knn.report.command import _file_names, report
from tests.report.conftest import make_record
from tests.report.results.test_paper import imagenet_run

NASTY = "<script>alert('x')</script>"


@pytest.fixture
def runs(tmp_path):
    for name, rows in (("small", 100), ("<b> large|", None)):
        record = make_record(
            [("gray_box", NASTY), ("gray_box", "PGD"), ("all", "worst case")], taps=("layer1",), sizes=(rows or 50_000,)
        )
        config = {"model": {"database": {"rows": rows}}, "data": {"queries": NASTY if rows else ""}}
        dataclasses.replace(record, config=config).save(tmp_path / "runs" / name)
    (tmp_path / "runs" / "stopped").mkdir()
    (tmp_path / "runs" / "stopped" / "origin.json").touch()
    return tmp_path / "runs"


def written(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_beside_the_runs_twice_the_same(runs, tmp_path, capsys):
    report([str(runs)])
    first = written(runs / "report")
    stems = ("accuracy-small", "accuracy--b-large-", "database-size")
    figures = {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    texts = {"report.html", "report.md", "report.tex", "results.csv", "tables/attackers.csv"}
    assert set(first) == texts | figures  # and no table of the paper, which no run names
    assert capsys.readouterr().out.startswith("Runs: 2 finished, 1 unfinished.")
    report([str(runs / "small"), str(runs), "--output", str(tmp_path / "again")])  # a report is no run
    assert written(tmp_path / "again") == first


def test_names_are_text_on_the_page(runs):
    report([str(runs)])
    page = (runs / "report" / "report.html").read_text()
    assert not re.search(r"<script(?!>\n//| type=.application/json.>[{\[])", page)  # only its own
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt; large|" in page
    assert page.count("data:image/png;base64,iVBOR") == 3  # PNG's first bytes
    assert not re.search(r"src=\"(?!data:)", page)
    linked = re.findall(r"href=\"([^#\"][^\"]*)", page)
    assert linked[-3:] == ["results.csv", "tables/attackers.csv", "report.tex"]
    assert {name for name in linked if "small" in name} == {"accuracy-small.png", "accuracy-small.svg"}
    assert all((runs / "report" / name).is_file() for name in linked)


def test_many_runs_have_drawings(runs, monkeypatch):
    monkeypatch.setattr("lit_knn.report.command.MANY", 1)
    report([str(runs)])
    assert {path.name for path in (runs / "report").glob("accuracy*")} == {
        "accuracy-small.svg",
        "accuracy--b-large-.svg",
    }
    assert (runs / "report" / "report.html").read_text().count('src="data:image/svg+xml,') == 2
    assert "](accuracy-small.svg)" in (runs / "report" / "report.md").read_text()


def test_delta(runs):
    report([str(runs), "--delta", "0.02"])
    assert "| 0.02 |" in (runs / "report" / "report.md").read_text()
    with pytest.raises(UserError, match=r"no run was measured at 0\.5; there are Δ = 0, Δ = 0\.02, Δ = 0\.06"):
        report([str(runs), "--delta", "0.5"])


def test_a_size_as_others_write_it(tmp_path):
    make_record(norm="linf", deltas=(0.0, 4 / 255, 8 / 255)).save(tmp_path / "a")
    report([str(tmp_path), "--delta", "8/255"])
    assert "| 8/255 |" in (tmp_path / "report" / "report.md").read_text()
    assert "linf,0.03137254901960784" in (tmp_path / "report" / "results.csv").read_text()
    with pytest.raises(UserError, match=r"no run was measured at 0\.5; there are L∞ = 0, L∞ = 4/255, L∞ = 8/255"):
        report([str(tmp_path), "--delta", "0.5"])


def test_the_tables_of_the_paper_are_written_and_printed(tmp_path, capsys):
    for table in "12":
        imagenet_run(table).save(tmp_path / f"table{table}")
    report([str(tmp_path)])
    printed, folder = capsys.readouterr().out, tmp_path / "report"
    assert {path.name for path in (folder / "tables").iterdir()} == {
        *("attackers.csv", "paper-table-1.csv", "paper-table-2.csv"),
    }
    assert "No defense,table2,1.000,0.027,0.027" in (folder / "tables" / "paper-table-2.csv").read_text()
    assert r"\label{tab:paper-table-1}" in (folder / "report.tex").read_text()
    for name in ("report.html", "report.md"):
        assert "Dubey et al. 2019, Table 2: accuracy of nearest neighbors" in (folder / name).read_text()
    assert "table1: kNN conv" in printed
    assert "no run here has measured Table 1: IG-50B-All" in " ".join(printed.split())
    assert len(printed.splitlines()) < 100


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "report: the following arguments are required: RUNS; see lit-knn report --help"),
        (
            ["x", "--delta", "much"],
            "report: --delta: 'much' is no size; numbers, and fractions such as 8/255, are accepted",
        ),
        (["x", "--outputs", "y"], "report: unrecognized arguments: --outputs y; see"),
    ],
)
def test_mistakes(arguments, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        report(arguments)


def test_an_output_that_is_a_file(runs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file cannot be written"):
        report([str(runs), "--output", str(tmp_path / "file")])


def test_figures_have_names_of_their_own_that_any_file_system_takes():
    assert _file_names(["a/b", "a b", "A-B", "Δ", "a-b-2"]) == ["a-b", "a-b-2", "A-B-3", "-", "a-b-2-2"]


def test_the_command_line_takes_it_without_pytorch(runs):
    script = "import sys; from lit_knn.cli.main import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, "report", str(runs)], check=True)


def test_a_mistake_on_the_command_line_is_one_sentence(runs, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(runs / "stopped")])
    assert stopped.value.code == 2
    sentence = "no run is finished: no record.json in stopped; the same lit-knn test goes on"
    assert capsys.readouterr().err == f"lit-knn: {sentence}\n"


def test_its_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["report", "--help"])
    assert stopped.value.code == 0
    assert "--output" in capsys.readouterr().out
