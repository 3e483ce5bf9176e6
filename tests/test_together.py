"""Several processes, without a Trainer: gloo through a file."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch.distributed as dist

from lit_knn.errors import UserError
from lit_knn.preemption import Preempted
from lit_knn.together import together

ALONE = SimpleNamespace(world_size=1)


def test_one_process_keeps_its_own_errors():
    with together(ALONE):
        pass
    for error in (UserError("mine"), Preempted(signal.SIGTERM), RuntimeError("a bug")):
        with pytest.raises(type(error)) as found, together(ALONE):
            raise error
        assert found.value is error


def outcome(rank, failures, folder):
    """Return what a process leaves with, as a line."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(failures))
    trainer = SimpleNamespace(world_size=len(failures), local_rank=rank, strategy=SimpleNamespace(launcher=None))
    try:
        with together(trainer):
            if failures[rank] is not None:
                raise failures[rank]
    except (UserError, Preempted) as error:
        return f"{type(error).__name__} {error}"
    return "fine"


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
    children = []
    for rank in range(len(failures)):
        children.append(child := os.fork())
        if not child:
            try:
                (tmp_path / f"said-{rank}").write_text(outcome(rank, failures, tmp_path))
            finally:
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    assert [(tmp_path / f"said-{rank}").read_text() for rank in range(len(failures))] == [expected] * len(failures)
