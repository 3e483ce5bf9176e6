"""What the script for GPUs does without one; `test_bench.py` runs its parts on the CPU."""

import importlib
import json
import multiprocessing
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lit_knn.errors import UserError

TOOLS = Path(__file__).parents[2] / "tools"
LINEAR = """
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("bench_gpu")


def measured(options):
    return ["a line"]


def failing(options):
    raise RuntimeError("no more memory")


def test_without_a_gpu_a_sentence_and_code_2(script, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main([]) == 2
    assert capsys.readouterr() == ("", "error: PyTorch sees no GPU here; --device cpu tries the scripts without one\n")


@pytest.mark.slow
def test_the_command_without_a_gpu(tmp_path):
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [TOOLS / "check_gpu.sh", tmp_path / "record.json"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=hidden)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: PyTorch sees no GPU here")
    assert not (tmp_path / "record.json").exists()


def test_operations_are_those_of_the_network_and_the_matrices(script, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(LINEAR)
    monkeypatch.setattr(script, "in_turn", lambda options, *runs: [[1.0]] * len(runs))  # each takes a second
    options = ["--device", "cpu", "--network", f"{tmp_path}/net.py:network", "--size", "4", "--images", "6"]
    options += [
        "--matrix",
        "8",
        "--precision",
        "32-true",
        "--only",
        "attack",
        "--output",
        str(tmp_path / "record.json"),
    ]
    assert script.main(options) == 0
    (line,) = json.loads((tmp_path / "record.json").read_text())["results"]
    assert line["measured"] * 1e12 == pytest.approx(10 * 2 * (2 * 6 * 48 * 5))  # steps, forward and back
    assert line["base"] * 1e12 == pytest.approx(10 * 2 * 8**3)


def test_a_product_finds_the_nearest_rows(script):
    rows, queries = (torch.randn(size, 6, generator=torch.Generator().manual_seed(size)) for size in (200, 9))
    expected = torch.cdist(queries.double(), rows.double()).argsort(dim=1)[:, :7]
    assert torch.equal(script._by_product(rows)(queries, 7), expected)


def test_a_part_that_takes_too_long_is_ended(script):
    with pytest.raises(UserError, match=r"measured took longer than 0\.01 s"):
        script.limited(measured, None, 0.01)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_part_has_a_process_of_its_own(script):
    assert script.limited(measured, None, 60) == ["a line"]
    with pytest.raises(UserError, match="failing failed"):
        script.limited(failing, None, 60)


def test_parts_that_fail_leave_what_others_measured(script, monkeypatch, capsys):
    def limited(part, options, limit):
        if part is script.search:
            raise UserError("search took longer than 90 s")
        return [script.Line(f"{part.__name__} / all", "s", [1.0], [2.0])]

    monkeypatch.setattr(script, "limited", limited)
    assert script.main(["--device", "cpu"]) == 1
    found = capsys.readouterr()
    assert [line.split()[0] for line in found.out.splitlines()[3:]] == ["tests", "attack", "idle"]
    assert found.err == "error: search took longer than 90 s\n"
