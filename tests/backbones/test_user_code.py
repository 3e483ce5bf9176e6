import sys

import pytest
import torch

from lit_knn.backbones import Classifier, Tap
from lit_knn.errors import TracedError, UserError

NETWORK = """
import sys
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d({channels}, 4, 3)
    def forward(self, x):
        {line}
        return self.conv(x).mean((2, 3))
def net(): {build}; return Net()
"""


@pytest.fixture
def network(tmp_path):
    def write(text=None, *, channels=3, line="pass", build="pass"):
        path = tmp_path / "mine.py"
        path.write_text(NETWORK.format(channels=channels, line=line, build=build) if text is None else text)
        return f"{path}:net"

    return write


def called(network):
    Classifier(network=network).tapped(torch.rand(2, 3, 8, 8), [Tap("conv")])


@pytest.mark.parametrize(
    ("text", "changes", "sentence"),
    [
        ("x = = 1\n", {}, r"network file .*mine\.py cannot be imported: SyntaxError: [^()]*\(\S*mine\.py, line 1\)$"),
        ("import nothing_like_this\n", {}, r"cannot be imported: ModuleNotFoundError: .*mine\.py, line 1"),
        ("\n1 / 0\n", {}, r"cannot be imported: ZeroDivisionError: division by zero \(.*mine\.py, line 2\)"),
        ("import sys\nsys.exit()\n", {}, r"cannot be imported: SystemExit \(.*mine\.py, line 2\)"),
        (None, {"build": "sys.exit(3)"}, r"cannot be built with {}: SystemExit: 3 \(.*mine\.py, line 11\)"),
        (None, {"build": "[][0]"}, r"cannot be built with {}: IndexError: list index out of range \(.*line 11\)"),
        (
            None,
            {"line": "raise KeyError('a')"},
            r"network \w+ failed on images \(2, 3, 8.*: KeyError: 'a' \(.*line 9\)",
        ),
        (None, {"line": "sys.exit(0)"}, r"network \w+ failed on images .*: SystemExit: 0 \(.*line 9\)"),
        (None, {"channels": 1}, r"network \w+ failed on images \(2, 3, 8, 8\), RGB .*expected.* 1 channels.*line 10"),
        (None, {"line": "x = x.half()"}, r"network \w+ failed on images .*RuntimeError: .*line 10"),
    ],
)
def test_file_line_and_error_are_named(network, text, changes, sentence, tmp_path):
    with pytest.raises(TracedError, match=sentence) as error:
        called(network(text, **changes))
    kept = error.value.kept_in(tmp_path / "runs")
    assert str(kept) == f"{error.value}; the traceback is in {tmp_path / 'runs' / 'error.log'}"
    assert "Traceback" in (tmp_path / "runs" / "error.log").read_text()
    assert not isinstance(kept, TracedError)


def test_where_no_file_can_be_written_the_sentence_stays(network, tmp_path):
    with pytest.raises(TracedError) as error:
        called(network("1 / 0\n"))
    (tmp_path / "runs").write_text("no folder")
    assert error.value.kept_in(tmp_path / "runs") is error.value


def test_a_network_may_import_what_lies_beside_it(tmp_path, network, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside_the_network.py").write_text("from torch.nn import Identity as net\n")
    assert Classifier(network=network("from beside_the_network import net\n"))


def test_being_asked_to_stop_is_no_mistake(network):
    line = "from lit_knn.distributed.preemption import Preempted; raise Preempted(15)"
    with pytest.raises(SystemExit) as stop:
        called(network(line=line))
    assert stop.value.code == 75


def test_a_refusal_within_stays_one(network):
    with pytest.raises(UserError, match=r"^network \w+: my own sentence$"):
        called(network(line="from lit_knn.errors import UserError; raise UserError('my own sentence')"))
