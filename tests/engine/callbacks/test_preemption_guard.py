import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from lit_knn.distributed.collectives import launched
from lit_knn.distributed.preemption import Preempted
from lit_knn.engine.callbacks import PreemptionGuard
from lit_knn.engine.trainer import EvalTrainer
from lit_knn.errors import UserError


def trainer():
    return SimpleNamespace(strategy=SimpleNamespace(launcher=None))


BETWEEN, WITHIN = SimpleNamespace(), SimpleNamespace(holds_unsealed_rows=True)  # shards


def send(signum):
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("hook", ["on_test_batch_end", "on_predict_batch_end"])
def test_it_stops_after_the_batch_and_passes_the_signal_on(signum, hook, monkeypatch):
    guard, sent = PreemptionGuard(), []
    monkeypatch.setattr(launched, "send", sent.append)
    with guard.watching(trainer()):
        getattr(guard, hook)(None, BETWEEN, None, None, 0)  # nobody has asked
        send(signum)
        send(signum)  # once from the scheduler, once from the first process
        with pytest.raises(Preempted) as stop:
            getattr(guard, hook)(None, BETWEEN, None, None, 0)
    assert stop.value.signum == signum
    assert sent == [signum]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1])
def test_it_stops_at_once_where_nothing_would_ask_later(signum):
    guard = PreemptionGuard()
    with guard.watching(trainer(), "index"), pytest.raises(Preempted) as stop:
        send(signum)
    assert (stop.value.signum, stop.value.code) == (signum, 75)


def test_ctrl_c_stops_at_once_and_whatever_it_leads_to_is_no_error():
    guard, error = PreemptionGuard(), RuntimeError("computation interrupted")  # as FAISS says
    with guard.watching(trainer()):
        with pytest.raises(Preempted) as stop:
            send(signal.SIGINT)
        assert (stop.value.signum, stop.value.code) == (signal.SIGINT, 130)
        with pytest.raises(Preempted):
            guard.check(error)
    with pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


@pytest.mark.parametrize("hook", ["on_test_batch_end", "on_predict_batch_end"])
def test_ctrl_c_that_a_finalizer_swallows_stops_after_the_batch(hook, monkeypatch):
    class Dies:
        def __del__(self):
            send(signal.SIGINT)

    shown = []
    monkeypatch.setattr("sys.unraisablehook", shown.append)
    guard, dies = PreemptionGuard(), [Dies()]
    with guard.watching(trainer()):
        dies.clear()
        with pytest.raises(Preempted) as stop:
            getattr(guard, hook)(None, BETWEEN, None, None, 0)
    assert stop.value.signum == signal.SIGINT
    assert shown == []


def test_it_stops_when_another_process_has_failed(monkeypatch):
    """But finishes the shard in hand, if there is time."""
    guard, failed = PreemptionGuard(grace=20), UserError("of another process")

    def check():
        raise failed

    monkeypatch.setattr("lit_knn.engine.callbacks.preemption_guard.check_others", check)
    monkeypatch.setattr("lit_knn.engine.callbacks.preemption_guard.failed_since", lambda: time.monotonic() - since)
    with guard.watching(trainer()):
        since = 10
        guard.on_predict_batch_end(None, WITHIN, None, None, 0)
        with pytest.raises(UserError, match="of another process"):
            guard.on_predict_batch_end(None, BETWEEN, None, None, 0)
        since = 20
        with pytest.raises(UserError, match="of another process"):
            guard.on_predict_batch_end(None, WITHIN, None, None, 0)


def test_the_shard_in_hand_is_finished_if_there_is_time(monkeypatch):
    clock = SimpleNamespace(now=5.0)
    monkeypatch.setattr("lit_knn.engine.callbacks.preemption_guard.time.monotonic", lambda: clock.now)
    guard = PreemptionGuard(grace=20)
    with guard.watching(trainer()):
        send(signal.SIGTERM)
        clock.now += 19
        guard.on_predict_batch_end(None, WITHIN, None, None, 0)
        clock.now += 1
        with pytest.raises(Preempted):
            guard.on_predict_batch_end(None, WITHIN, None, None, 0)


def test_handlers_are_given_back():
    before = [signal.getsignal(signum) for signum in PreemptionGuard.SIGNALS]
    guard = PreemptionGuard()
    with guard.watching(trainer()):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Lightning does when a loop begins
        guard.on_predict_start(None, None)
        send(signal.SIGTERM)
        with pytest.raises(Preempted):
            guard.check()
    assert [signal.getsignal(signum) for signum in PreemptionGuard.SIGNALS] == before
    guard.on_test_start(None, None)  # of a Trainer that runs no command
    assert [signal.getsignal(signum) for signum in PreemptionGuard.SIGNALS] == before
    with guard.watching(trainer()):
        guard.check()  # the next command starts afresh


def test_a_test_may_ask_between_pieces_of_work(tmp_path):
    guard = PreemptionGuard()
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    context = EvalTrainer(default_root_dir=tmp_path, callbacks=guard, **quiet).run_context
    with guard.watching(trainer()):
        guard.on_test_start(None, None)
        context.pause()
        send(signal.SIGUSR1)
        with pytest.raises(Preempted):
            context.pause()


def test_an_error_that_the_signal_led_to_is_its_cause():
    guard, error = PreemptionGuard(), RuntimeError("DataLoader worker is killed by signal: Terminated")
    with guard.watching(trainer()):
        guard.check(error)  # without a signal it is somebody else's
        send(signal.SIGTERM)
        with pytest.raises(Preempted) as stop:
            guard.check(error)
    assert stop.value.__cause__ is error


def test_another_thread_runs_commands_without_signals():
    guard, ran = PreemptionGuard(), []

    def command():
        with guard.watching(trainer()):
            ran.append(1)

    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    assert ran


def test_a_negative_grace_is_refused():
    for grace in (-1, float("nan")):
        with pytest.raises(UserError, match="grace"):
            PreemptionGuard(grace=grace)
