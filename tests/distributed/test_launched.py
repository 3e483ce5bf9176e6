import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from lit_knn.distributed import Launched


def sleeper():
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])


@pytest.fixture
def launched():
    launched = Launched()
    launched.processes = [sleeper()]
    yield launched
    launched.end(0)


def test_it_says_how_one_has_ended(launched):
    assert launched.ending(5) == ""  # of another machine
    launched.send(signal.SIGTERM)
    assert launched.ending(1) == "was killed by SIGTERM"


def test_none_outlives_this_process(launched):
    launched.end(0)
    assert launched.processes[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("program", "code", "sentence"),
    [
        (
            "import os; os.kill(os.getpid(), 9)",
            1,
            "lit-knn: process 2 of 2 was killed by SIGKILL before it met the others\n",
        ),
        ("raise SystemExit(130)", 130, "lit-knn: interrupted before it began; the same command starts again\n"),
    ],
)
def test_one_that_ends_before_it_met_the_others_ends_this_process(tmp_path, program, code, sentence):
    """Which waits for it in a call that hears no signal, and which Lightning would kill without a word."""
    child = os.fork()
    if not child:
        sys.stderr = (tmp_path / "said").open("w")
        procs = [subprocess.Popen([sys.executable, "-c", program])]
        Launched().watch(SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=procs))))
        time.sleep(60)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    assert (tmp_path / "said").read_text() == sentence


def test_lightning_looks_at_none_of_them_any_more(launched):
    (started,) = launched.processes
    launched.processes = []
    procs = [started]
    launched.watch(SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=procs))))
    while procs:
        time.sleep(0.01)
    launched.meet()
    assert launched.processes == [started]
