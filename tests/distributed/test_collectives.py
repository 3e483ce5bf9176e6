"""Several processes, without a Trainer: gloo through a file."""

import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from lit_knn.database.index import Neighbors
from lit_knn.database.index.exchange import Exchange
from lit_knn.distributed.collectives import check_others, meet, together
from lit_knn.distributed.preemption import Preempted
from lit_knn.errors import ProcessError, UserError

ALONE = SimpleNamespace(world_size=1)


def test_one_process_keeps_its_own_errors():
    with together(ALONE):
        meet()
    for error in (UserError("mine"), Preempted(signal.SIGTERM), RuntimeError("a bug")):
        with pytest.raises(type(error)) as found, together(ALONE):
            raise error
        assert found.value is error


class Share:
    """A share of an index in which nothing is near."""

    def partial(self, features, k, among):
        return Neighbors(torch.zeros(len(features), k, dtype=torch.int64), torch.zeros(len(features), k))


def ask(rank):
    """Ask an index that is shared by all, in rounds that need each of them, as long as there are any."""
    exchange = Exchange()
    number = exchange.join(Share())
    while True:
        exchange.ask(number, torch.zeros(2, 4), 1, None)
        yield


def wait_in_a_barrier(rank):
    yield
    dist.barrier()


def wait_for_all(rank):
    yield
    meet()


def work(rank):
    """Ask between two pieces of work."""
    while True:
        yield
        check_others()
        time.sleep(0.05)


def wait_in_turn(rank):
    """One computes, and the others wait in different calls."""
    return (work, wait_in_a_barrier, wait_for_all, wait_in_a_barrier)[rank](rank)


def outcome(rank, failures, activity, folder):
    """Return what a process leaves with, as a line."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(failures))
    strategy = SimpleNamespace(launcher=None)
    trainer = SimpleNamespace(world_size=len(failures), local_rank=rank, num_nodes=1, strategy=strategy)
    try:
        with together(trainer):
            steps = activity(rank)
            next(steps)
            if failures[rank] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if failures[rank] is not None:
                raise failures[rank]
            next(steps, None)
            while any(failures):  # an activity that goes on for ever
                next(steps)
    except (UserError, Preempted, ProcessError, ZeroDivisionError) as error:
        return f"{type(error).__name__} {error}"
    return "fine"


def leave_with(failures, activity, folder):
    """Return what each of several processes leaves with."""
    children = []
    for rank in range(len(failures)):
        children.append(child := os.fork())
        if not child:
            said = "nothing"
            try:
                signal.alarm(60)  # a hang is a failure, and leaves nothing running
                said = outcome(rank, failures, activity, folder)
            finally:
                (folder / f"said-{rank}").write_text(said)
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    files = [folder / f"said-{rank}" for rank in range(len(failures))]
    return [file.read_text() if file.exists() else "killed" for file in files]


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([None, None], "fine"),
        ([None, UserError("of rank 1")], "UserError of rank 1"),
        ([UserError("of rank 0"), UserError("of rank 1"), None], "UserError of rank 0"),
        ([None, Preempted(signal.SIGUSR1)], "Preempted 75"),
    ],
)
def test_all_leave_with_the_same_error(tmp_path, failures, expected):
    assert leave_with(failures, wait_for_all, tmp_path) == [expected] * len(failures)


@pytest.mark.ddp
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("activity", [ask, wait_in_turn])
@pytest.mark.parametrize("first", [True, False])
def test_wherever_the_others_wait(tmp_path, size, activity, first):
    """In rounds of a shared index, in a barrier, at the end; or not at all."""
    number = 0 if first else size - 1
    for name, failure, told in (
        ("input", UserError("a bad image"), "UserError a bad image"),
        ("signal", Preempted(signal.SIGTERM), "Preempted 75"),
        (
            "fault",
            ZeroDivisionError("a bug"),
            f"ProcessError process {number + 1} of {size} has failed, and says where",
        ),
        ("killed", "killed", f"ProcessError process {number + 1} of {size}"),
    ):
        failures = [failure if rank == number else None for rank in range(size)]
        (tmp_path / name).mkdir()
        said = leave_with(failures, activity, tmp_path / name)
        own = {"fault": "ZeroDivisionError a bug", "killed": "killed"}.get(name)
        assert own is None or said.pop(number) == own
        assert all(line.startswith(told) for line in said), (name, said)
