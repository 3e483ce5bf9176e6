import json
import re
import subprocess
import sys

import pytest

from lit_knn.cli.main import main
from lit_knn.errors import UserError
from lit_knn.report.comparison.command import compare
from lit_knn.report.results.record import RECORD_FILE
from tests.report.comparison.test_differences import flipped


@pytest.fixture
def runs(made, tmp_path):
    made.write(tmp_path / "a")
    flipped(made, range(12)).write(tmp_path / "b")
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_each_format_says_the_same(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    printed = {}
    for chosen in ("table", "markdown", "csv", "json"):
        compare([*runs, "--format", chosen])
        printed[chosen] = capsys.readouterr().out
    compare([*runs])
    assert capsys.readouterr().out == printed["table"]
    (first, *_) = json.loads(printed["json"])["differences"]
    size = f"{first['difference']:+.3f}".replace("0.", ".").replace("-", "−")
    assert size in printed["table"]
    assert f"| {size} |" in printed["markdown"]
    assert repr(first["difference"]) in printed["csv"]
    assert "of the same 40 images" in printed["markdown"]


def test_records_are_runs_too_and_a_folder_of_one_run(runs, capsys, tmp_path):
    compare([f"{runs[0]}/{RECORD_FILE}", runs[1], "--format", "json"])
    assert json.loads(capsys.readouterr().out)["images"] == 40


def test_as_many_as_asked_for_are_listed(runs, capsys):
    compare([*runs, "--most", "1", "--format", "markdown"])
    assert "3 more are in" in capsys.readouterr().out


def old(folder):
    content = json.loads((folder / RECORD_FILE).read_text())
    (folder / RECORD_FILE).write_text(json.dumps(content | {"schema": 1}))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a"], "compare: the following arguments are required: B; see lit-knn compare --help"),
        (["a", "b", "--format", "html"], "compare: argument --format: invalid choice: 'html'"),
        (["a", "b", "--most", "0"], "compare: --most is 0; whole numbers from 1 are accepted"),
        (["a", "."], "compare: . holds 3 runs, a, b, stopped; give one of them"),
        (["a", "stopped"], "no run is finished: no record.json in stopped; the same lit-knn test goes on"),
        (["a", "nowhere"], "holds no run; give run folders"),
        (["old", "a"], "has record schema 1; this version of lit_knn reads 2, 3"),
    ],
)
def test_mistakes(runs, made, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    if "old" in arguments:
        made.write(tmp_path / "old")
        old(tmp_path / "old")
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "origin.json").touch()
    with pytest.raises(UserError, match=re.escape(sentence)):
        compare(arguments)


def test_the_command_line_takes_it_without_pytorch(runs):
    script = "import sys; from lit_knn.cli.main import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, "compare", *runs], check=True)


def test_a_mistake_on_the_command_line_is_one_sentence(runs, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", runs[0], str(tmp_path / "nowhere")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("lit-knn: ")
