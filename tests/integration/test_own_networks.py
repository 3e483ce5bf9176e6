"""Networks as people have them, through the command line: the network's own numbers, or one sentence."""

import json

import pytest
import torch

from lit_knn.backbones.digits import digits_resnet
from lit_knn.data import Digits, ImageData
from lit_knn.database.store import Store
from tests.conftest import run

FILE = """
import torch
from torch import nn
from lit_knn.backbones.digits import digits_resnet
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = digits_resnet()
    def forward(self, x):
        {body}
def net(): return Net()
"""
RIGHT = {
    "the graph is not the network": ({}, "return self.net(x if isinstance(x, torch.Tensor) else -x)"),
    "something else comes last": ({}, "logits = self.net(x); self.last = -logits; return logits"),
    "logits in a tuple": ({"output": 0}, "logits = self.net(x); return logits, -logits"),
    "logits in a dict": ({"output": "y"}, "logits = self.net(x); return {'x': -logits, 'y': logits}"),
}
REFUSED = {
    "raises": ("raise ValueError('no such thing')", "failed on images (50, 3, 8, 8)", "ValueError: no such thing"),
    "leaves": ("import sys; sys.exit(0)", "failed on images (50, 3, 8, 8)", "SystemExit: 0"),
    "a tuple": ("return self.net(x), x", "the network returns a tuple with 0:", "`output` names"),
    "features": ("return x", "the network returns a float32 tensor (50, 3, 8, 8)", "logits"),
}


@pytest.fixture
def own(config, tmp_path):
    """A configuration whose network is a file with this body."""

    def write(body, **classifier):
        (tmp_path / "mine.py").write_text(FILE.format(body=body))
        config["model"]["classifier"] |= {"network": f"{tmp_path / 'mine.py'}:net", **classifier}
        config["model"]["database"] |= {
            "taps": [{"layer": "net.layer3", "dimension": 16, "name": "late"}],
            "index": None,
        }
        config["model"]["database"]["build_missing"] = True
        config["model"]["defenses"][1]["init_args"]["taps"] = ["late"]
        return config

    return write


@pytest.fixture(scope="module")
def reference():
    """Clean accuracy of the network in a plain loop."""
    (queries,) = ImageData(queries=Digits(split="test"), num_queries=130, batch_size=130).test_dataloader()
    logits = digits_resnet().eval()((queries["image"].float() / 255 - 0.5) / 0.5)
    return (logits.argmax(1) == queries["label"]).float().mean().item()


@pytest.mark.parametrize("case", RIGHT)
def test_the_numbers_are_those_of_the_network(case, own, reference):
    changes, body = RIGHT[case]
    config = own(body, **changes)
    record = json.loads((run("test", config) / "record.json").read_text())
    clean = {row["defense"]: row["accuracy"] for row in record["results"] if row["delta"] == 0 and row["topk"] == 1}
    assert clean["none"] == pytest.approx(reference)
    assert min(clean.values()) > 0.9
    store = Store(f"{config['model']['database']['path']}/store")
    ids = torch.arange(len(store)).numpy()
    assert (store.softmax_rows(ids).argmax(1) == store.labels(ids)).mean() > 0.95


@pytest.mark.parametrize("case", REFUSED)
def test_one_sentence(case, own, mistake, tmp_path):
    body, *parts = REFUSED[case]
    sentence = mistake("test", own(body))
    assert all(part in sentence for part in parts)
    if "failed" in sentence:
        assert "mine.py, line 10" in sentence
        log = tmp_path / "runs" / "error.log"
        assert sentence.endswith(f"the traceback is in {log}")
        assert "mine.py" in log.read_text()


def test_a_file_that_cannot_be_imported(own, mistake, tmp_path):
    config = own("return x")
    (tmp_path / "mine.py").write_text("def net(:\n")
    sentence = mistake("test", config)
    assert "mine.py cannot be imported: SyntaxError" in sentence
    assert f"mine.py, line 1); the traceback is in {tmp_path / 'runs' / 'error.log'}" in sentence


def test_once_a_run_has_begun_the_traceback_is_in_its_folder(own, mistake, tmp_path):
    config = own(
        "self.calls = getattr(self, 'calls', 0) + 1; assert self.calls < 20, 'no such thing'; return self.net(x)"
    )
    config["model"]["defenses"] = ["NoDefense"]
    del config["model"]["database"], config["data"]["database"]
    log = tmp_path / "runs" / "run-001" / "error.log"
    assert mistake("test", config).endswith(f"the traceback is in {log}")
    assert "no such thing" in log.read_text()


def test_an_attack_without_a_gradient_says_so_and_says_it_again_when_resumed(own, tmp_path, capsys):
    config = own("return self.net(((x + 1) * 4).round() / 4 - 1)")
    config["model"]["defenses"] = ["NoDefense"]
    del config["model"]["database"], config["data"]["database"]
    for _ in range(2):  # the second time all comes from the first one's cache
        run("test", config, "--trainer.run=rounded")
        folder = tmp_path / "runs" / "rounded"
        (warning,) = json.loads((folder / "record.json").read_text())["warnings"]
        assert warning.startswith("gray_box: PGD had no direction for 130 of 130 queries at Δ = 0.05")
        assert f"Warning: {warning}." in " ".join(capsys.readouterr().out.split())
