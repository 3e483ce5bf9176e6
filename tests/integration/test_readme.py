"""What the READMEs say: their snippets run, their commands parse, the files that they name exist."""

import csv
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from PIL import Image
from sklearn.datasets import load_digits

import lit_knn.attacks
import lit_knn.backbones
from lit_knn.cli.main import main
from lit_knn.threat_models.norms import LINF
from tests.conftest import restored

ROOT = Path(__file__).parents[2]
READMES = [
    path
    for room in ("", "configs", "slurm", "tools", "lit_knn")
    for path in sorted((ROOT / room).glob("**/README.md" if room else "README.md"))
]
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
    shown = [
        line.split()
        for line in next(text for text in blocks("text") if "defense" in text and "kNN" in text).splitlines()
        if line.strip()
    ]
    printed = [line.split() for line in answer.stdout.splitlines()]
    assert shown[0] in printed  # the header
    for row in shown[3:]:  # accuracies may differ by a few images on another processor
        found = next(line for line in printed if line[:-7] == row[:-7])
        values, expected = ([v if v == "–" else float(v) for v in line[-7:]] for line in (found, row))
        assert values == pytest.approx(expected, abs=0.02)
    folder = tmp_path / "runs" / "quickstart" / "run-001"
    for line in re.findall(r"^\| `.*", README.partition("\n## What is left")[0], re.MULTILINE):
        for name in re.findall(r"`([\w-]+(?:/|\.(?:json|csv|png|yaml)))`", line):
            assert (folder / name).exists(), name


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with our configurations, as a reader of the README has one."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def follow(section):
    """Write the file that a section shows, run the command beside its name on few images, and return the accuracies."""
    (text,) = re.findall(rf"## {section}\n.*?```\w+\n(.*?)```", README, re.DOTALL)
    assert len(text.splitlines()) < 12
    file, command = re.match(r"# (\S+):  (?:PYTHONPATH=\. )?lit-knn (.*)", text).groups()
    Path(file).write_text(text)
    with restored():
        main([*command.split(), "--data.num_queries", "50", "--model.deltas", "[0.1]", "--trainer.run", "followed"])
    runs = re.search(r"default_root_dir: ([\w/]+)", text)
    with Path(runs[1] if runs else "runs/quickstart", "followed", "results.csv").open() as results:
        rows = list(csv.DictReader(results))
    best = {"topk": "1", "threat": "gray_box"}
    return {
        (row["defense"], row["tap"], row["delta"]): float(row["accuracy"])
        for row in rows
        if best.items() <= row.items()
    }


def test_your_network(folder):
    (folder / "my_network.py").write_text("from lit_knn.backbones.digits import digits_resnet as build\n")
    shutil.copy(Path(lit_knn.backbones.__file__).parent / "weights" / "digits_resnet.pth", folder / "my_weights.pth")
    found = follow("Your network")
    assert found["none", "", "0.0"] > 0.9
    assert found["none", "", "0.1"] < 0.5
    assert found["kNN", "mine", "0.0"] > 0.9


def test_your_images(folder):
    digits = load_digits()
    for split, rows in (("test", range(60)), ("train", range(60, 300))):
        for row in rows:
            image = Image.fromarray(np.rint(digits.images[row] * (255 / 16)).astype(np.uint8)).resize((16, 16))
            (of := folder / "images" / split / str(digits.target[row])).mkdir(parents=True, exist_ok=True)
            image.convert("RGB").save(of / f"{row}.png")
    found = follow("Your images")
    assert found["none", "", "0.0"] > 0.8
    assert found["kNN", "late", "0.0"] > 0.8


def test_your_defense(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    found = follow("Your defense")
    assert found["blur", "", "0.0"] > 0.5
    assert found["blur", "", "0.1"] > found["none", "", "0.1"]


@pytest.mark.slow
def test_your_tensors_in_a_notebook(tmp_path, monkeypatch):
    (text,) = re.findall(r"## Your tensors, in a notebook\n\n```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "cell.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    with restored():
        names = runpy.run_path(str(tmp_path / "cell.py"))
    accuracy = {
        (row["threat"].partition(" ")[0], row["defense"], row["delta"]): row["accuracy"]
        for row in names["table"]
        if row["topk"] == 1 and row["weighting"] in ("", "CBW-D")
    }
    assert accuracy["gray_box", "none", 0.0] > 0.95
    assert accuracy["gray_box", "none", 0.06] < accuracy["gray_box", "kNN", 0.06]
    assert accuracy["white_box", "kNN", 0.06] < accuracy["gray_box", "kNN", 0.06]
    assert names["curve"].axes[0].get_title() == "gray box, PGD"
    assert (tmp_path / "runs" / "run-001" / "record.json").exists()


def test_the_snippet_without_yaml_runs(tmp_path, capsys, monkeypatch):
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "configs" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "snippet.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(tmp_path / "snippet.py"))
    printed = capsys.readouterr().out
    assert re.search(r"^none 0\.1 0\.\d+$", printed, re.MULTILINE)
    assert re.search(r"^2-bit 0\.1 0\.\d+$", printed, re.MULTILINE)


def test_ci_runs_what_the_readme_has():
    script = (ROOT / ".ci" / "run").read_text()
    (function,) = re.findall(r"^command_with\(\) .*", script, re.MULTILINE)
    wanted = re.findall(r'command_with "(.+?)"\)', script)
    assert len(wanted) == 2
    for text in wanted:
        found = subprocess.run(
            ["bash", "-c", f'{function}\n{function.split("(")[0]} "$0"', text],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert text in found
        assert all(
            command.split()[0] in {"python3.11", ".", "pip", "pytest", "lit-knn"} for command in found.split("&&")
        )


def test_a_cpu_build_of_pytorch_that_is_there_is_what_the_package_asks_for():
    (names,) = re.findall(r"`pip install ([\w ]+)\s--index-url\shttps://download.pytorch.org/whl/cpu`", README)
    asked = {
        one.name: one
        for one in map(Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    }
    assert {"torch", "torchvision"} == {*names.split()}
    for name in names.split():
        (bound,) = asked[name].specifier
        assert asked[name].specifier.contains(f"{bound.version}+cpu")


def test_it_stays_short_and_its_diagram_is_that_of_the_package():
    assert len(README.splitlines()) <= 190
    (diagram,) = (text for text in blocks("text") if "query image" in text)
    assert diagram == textwrap.dedent(lit_knn.__doc__.partition("\n\n")[2].partition("\n\n")[0]) + "\n"
    assert README.index(diagram) < README.index("\n## ")


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


def test_the_adaptive_suite_has_nothing_that_is_made_for_l2_only():
    attacks = ROOT / "configs" / "attack"
    suite = yaml.safe_load((attacks / "adaptive.yaml").read_text())["model"]["attacks+"]
    names = {part if isinstance(part, str) else part["class_path"] for part in suite}
    assert all(LINF in getattr(lit_knn.attacks, name).norms for name in names), names


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_readme_names_exists(readme):
    text = readme.read_text()
    for path in re.findall(r"`((?:configs|tools|slurm|tests|lit_knn)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for command in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for path in re.findall(r"\b((?:configs|slurm|tools)/[\w./-]+)", command):
            assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (readme.parent / path).exists(), path


def test_every_configuration_has_its_line():
    """Of a study the folder has one, and each file its command."""
    text = (ROOT / "configs" / "README.md").read_text()
    named = re.findall(r"^\| `([\w./-]+\.yaml)` \|", text, re.MULTILINE)
    (line,) = re.findall(r"^\| `cifar10/`, .*$", text, re.MULTILINE)
    studies = [*re.findall(r"`(\w+/)`", line), "paper/"]
    assert re.search(r"^\| `paper/` \|", text, re.MULTILINE)
    inside = [path for name in studies for path in (ROOT / "configs" / name).glob("*.yaml")]
    assert sorted([ROOT / "configs" / name for name in named] + inside) == CONFIGS


def commands():
    """Return what READMEs give lit-knn besides configurations, which another test parses; each once."""
    text = "\n".join(re.findall(r"```bash\n(.*?)```", "".join(map(Path.read_text, READMES)), re.DOTALL))
    lines = (shlex.split(line.partition("lit-knn ")[2], comments=True) for line in text.splitlines())
    return {tuple(words) for words in lines if len(words) > 3 and not set(words[3::2]) <= {"--config"}}


@pytest.mark.parametrize("words", sorted(commands()), ids=" ".join)
def test_every_command_parses(words, capsys):
    given = ["configs/quickstart.yaml" if word == "C.yaml" else word for word in words]
    with restored(), pytest.raises(SystemExit) as stopped:
        main([*(str(ROOT / word) if word.startswith("configs/") else word for word in given), "--print_config"])
    assert stopped.value.code in (0, None)
    assert yaml.safe_load(capsys.readouterr().out)["model"]["deltas"]


@pytest.mark.slow
def test_a_sweep_over_sizes_draws_figure_5(tmp_path):
    """The command of the README, with fewer images and attacks."""
    text = (ROOT / "configs" / "README.md").read_text()
    (command,) = (
        line.split() for line in text.splitlines() if line.startswith("lit-knn test") and "sizes.yaml" in line
    )
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
