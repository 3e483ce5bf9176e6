import io
import sys
from types import SimpleNamespace

import pytest
import torch

from lit_knn.engine.callbacks import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Extraction:
    """Gives the line its name."""


TRAINER = SimpleNamespace(world_size=2, num_test_batches=[3], num_predict_batches=[3])
BATCH = {"id": torch.arange(5)}


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("lit_knn.engine.callbacks.progress.time.monotonic", lambda: clock.now)
    return clock


def test_elsewhere_than_on_a_terminal_it_says_a_line_now_and_then(capsys, clock):
    progress = Progress(seconds=30)
    progress.on_predict_start(TRAINER, Extraction())
    for seconds in (20, 20, 20):
        clock.now += seconds
        progress.on_predict_batch_end(TRAINER, None, None, {"id": torch.arange(5000)}, 0, 0)
    progress.on_predict_end(TRAINER, None)
    # 2 batches of 5,000 images in 2 processes in 40 s; the third batch comes 20 s after that line
    assert capsys.readouterr().err == "extraction: batch 2 of 3, 500 images/s, 0:00:40 elapsed\n"


def test_after_the_last_batch_it_says_what_follows(capsys, clock):
    progress, evaluation = Progress(seconds=30), Extraction()
    progress.on_test_start(TRAINER, evaluation)
    for batch in range(3):
        progress.on_test_batch_end(TRAINER, evaluation, None, BATCH, batch, 0)
    clock.now += 31
    progress.tell("neighbors in late, unit 1 of 16")
    assert capsys.readouterr().err == "extraction: neighbors in late, unit 1 of 16, 0:00:31 elapsed\n"
    progress.on_test_end(TRAINER, None)


def test_a_long_batch_says_which_attack_it_is_at(capsys, clock):
    progress, evaluation = Progress(seconds=30), Extraction()
    progress.on_test_start(TRAINER, evaluation)
    for attack, seconds in (("gray_box: PGD", 20), ("gray_box: APGD", 20), ("white_box: Square", 20)):
        progress.tell(attack)
        clock.now += seconds
    progress.on_test_batch_end(TRAINER, evaluation, None, BATCH, 0, 0)
    said = capsys.readouterr().err.splitlines()
    assert said == ["extraction: batch 1 of 3, white_box: Square, 0:00:40 elapsed"]
    progress.on_test_end(TRAINER, None)


def test_an_extraction_says_how_many_shards_are_sealed(capsys, clock):
    progress, extraction = Progress(seconds=0), Extraction()
    extraction.status = "3 of 7 shards"
    progress.on_predict_start(TRAINER, extraction)
    clock.now += 2
    progress.on_predict_batch_end(TRAINER, extraction, None, BATCH, 0, 0)
    assert "batch 1 of 3, 3 of 7 shards, 5 images/s" in capsys.readouterr().err


def test_images_of_all_processes_are_counted(capsys, clock):
    progress = Progress(seconds=0)
    progress.on_test_start(TRAINER, Extraction())
    clock.now += 2
    progress.on_test_batch_end(TRAINER, None, None, BATCH, 0, 0)
    assert "batch 1 of 3, 5 images/s" in capsys.readouterr().err
    progress.on_test_end(TRAINER, None)


def test_a_loader_without_length(capsys, clock):
    progress = Progress(seconds=0)
    progress.on_test_start(SimpleNamespace(world_size=1, num_test_batches=[float("inf")]), Extraction())
    clock.now += 1
    progress.on_test_batch_end(TRAINER, None, None, BATCH, 0, 0)
    assert "batch 1 of ?" in capsys.readouterr().err


def test_other_processes_than_the_first_are_silent(capsys, clock):
    progress = Progress(seconds=0)
    progress.disable()
    progress.on_test_start(TRAINER, Extraction())
    clock.now += 1
    progress.on_test_batch_end(TRAINER, None, None, BATCH, 0, 0)
    assert capsys.readouterr().err == ""
    progress.enable()
    progress.on_test_batch_end(TRAINER, None, None, BATCH, 0, 0)
    assert capsys.readouterr().err.startswith("extraction: batch 2")


@pytest.mark.parametrize("end", ["on_test_end", "on_exception"])
def test_on_a_terminal_a_bar_comes_and_goes(monkeypatch, end):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress()
    progress.on_test_start(TRAINER, Extraction())
    progress.on_test_batch_end(TRAINER, None, None, BATCH, 0, 0)
    progress._bar.refresh()
    progress.print("something else")
    rest = (RuntimeError(),) if end == "on_exception" else ()
    getattr(progress, end)(TRAINER, None, *rest)
    assert progress._bar is None
    shown = sys.stderr.getvalue()
    assert "extraction" in shown
    assert "1/3" in shown
    assert "images/s" in shown
    assert "something else" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the last thing it does is to erase itself
    progress.on_exception(TRAINER, None, RuntimeError())  # twice does no harm
