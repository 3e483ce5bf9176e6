"""What the README says: its snippets run, its configurations parse, its tables are those of the records."""

import csv
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from lit_knn.cli.main import main
from lit_knn.report.results import Record
from lit_knn.report.table import accuracy_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def blocks(language):
    return [text for kind, text in BLOCKS if kind == language]


def test_the_first_command_gives_its_table_and_its_files(tmp_path):
    """The part after the installation, in a folder that has only what the command names."""
    command = blocks("bash")[0].split("&& ")[-1].split()
    assert command[:2] == ["lit-knn", "test"]
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    run = [sys.executable, "-m", "lit_knn", *command[1:]]
    answer = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ})
    assert answer.returncode == 0, answer.stderr
    shown = [line.split() for line in blocks("text")[0].splitlines() if line.strip()]
    printed = [line.split() for line in answer.stdout.splitlines()]
    assert shown[0] in printed  # the header
    for row in shown[3:]:  # accuracies may differ by a few images on another processor
        found = next(line for line in printed if line[:-7] == row[:-7])
        assert [float(v) for v in found[-7:]] == pytest.approx([float(v) for v in row[-7:]], abs=0.02)
    folder = tmp_path / "runs" / "quickstart" / "run-001"
    for name in re.findall(r"^\| `([\w.-]+?)/?`", README.partition("\n## The way")[0], re.MULTILINE):
        assert (folder / name).exists(), name


def test_the_arithmetic_is_what_the_script_prints():
    script = [sys.executable, str(ROOT / "tools" / "arithmetic.py")]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert printed in README


def test_the_python_snippet_runs(tmp_path, capsys, monkeypatch):
    (tmp_path / "snippet.py").write_text(blocks("python")[0])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(tmp_path / "snippet.py"))
    printed = capsys.readouterr().out
    assert re.search(r"^none 0\.1 0\.\d+$", printed, re.MULTILINE)
    assert re.search(r"^blur 0\.1 0\.\d+$", printed, re.MULTILINE)


def test_the_cifar10_table_is_that_of_the_record():
    record = Record.load(ROOT / "tools" / "records" / "cifar10" / "record.json")
    console = Console(width=80)
    with console.capture() as printed:
        console.print(accuracy_table(record))
    for line in printed.get().splitlines():
        assert line.strip() in README
    config = yaml.safe_load((ROOT / "configs" / "cifar10.yaml").read_text())
    assert [delta for delta in record.config["model"]["deltas"] if delta] == config["model"]["deltas"]


@pytest.mark.parametrize(("record", "delta"), [("digits-adaptive", "0.1"), ("cifar10-adaptive", "0.02")])
def test_the_table_of_all_attacks_is_that_of_its_record(record, delta):
    """Columns are K = 50, CBW-D, soft; a white box is that of the column's tap."""
    with (ROOT / "tools" / "records" / record / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["topk"] == "1" and row["combination"] in ("", "soft")]
    found = {
        (row["threat"], row["attack"], row["delta"], row["tap"]): f"{float(row['accuracy']):.3f}".lstrip("0")
        for row in rows
        if (row["k"], row["weighting"]) in (("", ""), ("50", "CBW-D"))
    }
    text = README.partition(f"`tools/records/{record}`")[2].partition("| attack |")[2].partition("\n\n")[0]
    head, _, *lines = (line.strip("| ").split("|") for line in text.splitlines())
    taps = [name.strip().removeprefix("kNN ").removeprefix("none") for name in head]
    names = {"gray": "gray_box", "black": "black_box", "all": "all"}
    for name, *cells in lines:
        threat, _, attack = name.strip().partition(": ")
        for tap, cell in zip(taps, cells, strict=True):
            key = (names.get(threat, f"white_box {tap}"), attack, delta, tap)
            if threat == "clean":
                key = ("gray_box", "PGD", "0.0", tap)
            assert cell.strip() == found.pop(key, ""), (name, tap)
    left = {key for key in found if key[2] == delta}
    assert not {key for key in left if key[0] in names.values() or (key[3] and key[0] == f"white_box {key[3]}")}


CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize(
    ("command", "config"),
    [("extract", CONFIGS[0]), ("index", CONFIGS[0]), *(("test", config) for config in CONFIGS)],
    ids=lambda part: getattr(part, "stem", part),
)
def test_every_configuration_parses(config, command, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lit-knn"])
    base = [] if config.parent.name == "configs" else ["--config", str(ROOT / "configs" / "quickstart.yaml")]
    with pytest.raises(SystemExit) as stopped:
        main([command, *base, "--config", str(config), "--print_config"])
    assert stopped.value.code in (0, None)
    assert yaml.safe_load(capsys.readouterr().out)["model"]["deltas"]


def test_every_file_that_the_readme_names_exists():
    for path in re.findall(r"`((?:configs|tools|slurm)/[\w./-]+)`", README):
        assert (ROOT / path).exists(), path
    for command in blocks("bash"):
        for path in re.findall(r"\b((?:configs|slurm|tools)/[\w./-]+)", command):
            assert (ROOT / path).exists(), path


def test_the_benchmark_table_is_that_of_the_records():
    for command, name, ratio in re.findall(
        r"^\| `python tools/(bench_\w+)\.py[^`]*` \| (.*?) \| ([\d.]+) ", README, re.MULTILINE
    ):
        records = [json.loads(path.read_text()) for path in (ROOT / "tools" / "records").glob(f"{command}*.json")]
        (found,) = [result for record in records for result in record["results"] if result["name"] == name]
        assert f"{found['ratio']:.2f}" == ratio


@pytest.mark.slow
def test_a_sweep_over_sizes_draws_figure_5(tmp_path):
    """The command of the README, with fewer images and attacks."""
    (command,) = (text.split() for text in blocks("bash") if "sizes.yaml" in text)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    less = ["--data.num_queries", "40", "--model.deltas", "[0.1]", "--trainer.run", "sweep"]
    run = [sys.executable, "-m", "lit_knn", *command[1:], *less]
    answer = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    folder = tmp_path / "runs" / "quickstart" / "sweep"
    assert (folder / "database-size.png").exists()
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["rows"] for row in rows if row["tap"]} == {"65", "130", "259", "648", "1297"}
    assert {row["rows"] for row in rows if not row["tap"]} == {""}


def test_the_cifar10_sizes_are_those_of_the_record():
    record = Record.load(ROOT / "tools" / "records" / "cifar10" / "record.json")
    best = {"k": 50, "weighting": "CBW-D", "combination": "soft", "topk": 1, "threat": "gray_box"}
    head, _, *lines = (
        line.strip("| ").split(" | ")
        for line in README.partition("| rows of the database")[2].partition("\n\n")[0].splitlines()
    )
    assert len(lines) == 9
    for name, *cells in lines:
        tap, _, rest = name.removeprefix("kNN ").partition(", ")
        delta = 0.0 if rest == "clean" else float(rest.rpartition(" ")[2])
        for size, cell in zip(head, cells, strict=True):
            key = {**best, "tap": tap, "delta": delta, "rows": int(size.replace(",", ""))}
            (row,) = (row for row in record.results if key.items() <= row.items())
            assert cell == f"{row['accuracy']:.3f}".lstrip("0"), (name, size)
