import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.data.conftest import write_tars

TOOLS = Path(__file__).parents[2] / "tools"
NETWORK = """
from torch import nn

def network():
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 40))
"""


def test_changed_answers_are_counted(tmp_path, monkeypatch, capsys):
    """Rows of a network that is sure of itself lose nothing; weights under other names are taken in their order."""
    monkeypatch.syspath_prepend(TOOLS)
    (tmp_path / "net.py").write_text(NETWORK)
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Linear(16, 40))
    body[1].weight.data.mul_(300)
    torch.save({f"other.{name}": value for name, value in body.state_dict().items()}, tmp_path / "weights.pth")
    images = write_tars(tmp_path, 60, 50)
    options = ["--network", f"{tmp_path}/net.py:network", "--weights", str(tmp_path / "weights.pth"), "--in-order"]
    options += ["--tap", "0", "--images", images, "--size", "12", "--k", "5", "--output", str(tmp_path / "record.json")]
    importlib.import_module("bench_packing").main(options)
    assert "110 images, 40 classes" in capsys.readouterr().out
    results = json.loads((tmp_path / "record.json").read_text())["results"]
    assert [result["met"] for result in results if result["name"].startswith("packed") and result["target"]] == [
        True
    ] * 3


def test_neighbors_are_others_and_changes_are_seen(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    bench = importlib.import_module("bench_packing")
    features = torch.tensor([[0.0], [1.0], [1.0], [1.0], [10.0], [12.0]])  # with three twins
    near = bench.others(features, 2)
    assert set(near[0].tolist()) < {1, 2, 3}
    assert all(row not in found for row, found in enumerate(near.tolist()))
    assert max(near[5].tolist()) == 4
    softmax = torch.randn(200, 400, generator=torch.manual_seed(0)).mul(3).softmax(1)
    lines = bench.compare(softmax, torch.arange(200)[:, None].expand(-1, 9).roll(1, 0))
    found = {line.name: line.summary()["ratio"] for line in lines}
    assert found["packed, largest of a row: changed / 1 in 1,000"] == 0
    assert found["packed, UW of 9: changed / 1 in 1,000"] == 0  # nine times the same row


@pytest.mark.parametrize("k", [5, 50])
def test_votes_of_flat_rows_change(monkeypatch, k):
    monkeypatch.syspath_prepend(TOOLS)
    bench = importlib.import_module("bench_packing")
    generator = torch.manual_seed(0)
    flat = torch.rand(300, 400, generator=generator)
    near = torch.randint(0, 300, (300, k), generator=generator)
    lines = {line.name: line.summary()["ratio"] for line in bench.compare(flat / flat.sum(1, keepdim=True), near)}
    assert lines[f"packed, UW of {k}: changed / 1 in 1,000"] > 100
