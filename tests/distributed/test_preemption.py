import logging
import signal

import pytest

from lit_knn.distributed.preemption import Preempted, leave, requeue


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Put a program of this name first; it writes down what it is asked, and ends with the code in a file."""
    script = tmp_path / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho no >&2\nexit $(cat {tmp_path}/code)\n')
    script.chmod(0o755)
    (tmp_path / "code").write_text("0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


ARRAY = {"SLURM_JOB_ID": "78", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "7"}


def test_the_code_is_the_one_for_try_again():
    stopped = Preempted(signal.SIGTERM)
    assert (stopped.code, stopped.signum) == (75, 15)


def test_a_task_of_an_array_is_named_as_such(scontrol):
    assert requeue(ARRAY)
    assert requeue({"SLURM_JOB_ID": "77"})
    assert (scontrol / "asked").read_text() == "requeue 70_7\nrequeue 77\n"


def test_elsewhere_nobody_is_asked(scontrol):
    assert not requeue({})
    assert not (scontrol / "asked").exists()


@pytest.mark.parametrize("refuses", [True, False])
def test_what_slurm_refuses_is_said(scontrol, monkeypatch, caplog, refuses):
    (scontrol / "code").write_text("1")
    if not refuses:
        monkeypatch.setenv("PATH", "/nowhere")
    with caplog.at_level(logging.WARNING):
        assert not requeue(ARRAY)
    assert "submit it again" in caplog.text


def test_one_process_speaks_for_all(scontrol, monkeypatch, capsys):
    for name, value in ARRAY.items():
        monkeypatch.setenv(name, value)
    leave(Preempted(signal.SIGTERM), first=False, ask=True)
    assert capsys.readouterr().err == ""
    leave(Preempted(signal.SIGTERM), first=True, ask=False)
    assert not (scontrol / "asked").exists()
    assert capsys.readouterr().err == "lit-knn: stopped by SIGTERM with nothing lost; the same command goes on\n"
    leave(Preempted(signal.SIGUSR1), first=True, ask=True)
    assert (scontrol / "asked").read_text() == "requeue 70_7\n"
    assert capsys.readouterr().err == "lit-knn: stopped by SIGUSR1 with nothing lost; Slurm starts it again\n"


def test_slurm_is_not_asked_to_start_again_what_it_has_ended(scontrol, monkeypatch, capsys):
    """`scancel` sends SIGTERM, and a job that asks for another turn on that can never be canceled."""
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    leave(Preempted(signal.SIGTERM), first=True, ask=True)
    assert not (scontrol / "asked").exists()
    assert capsys.readouterr().err == "lit-knn: stopped by SIGTERM with nothing lost; the same command goes on\n"


def test_the_others_wait_for_the_one_that_asks(scontrol, monkeypatch):
    """With ``srun --kill-on-bad-exit`` the first to leave ends them all."""
    waits = []
    monkeypatch.setattr("lit_knn.distributed.preemption.time.sleep", waits.append)
    leave(Preempted(signal.SIGUSR1), first=False, ask=True)  # no Slurm
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    leave(Preempted(signal.SIGTERM), first=False, ask=True)
    leave(Preempted(signal.SIGUSR1), first=False, ask=False)
    assert not waits
    leave(Preempted(signal.SIGUSR1), first=False, ask=True)
    assert waits
