"""Several processes succeed together, or stop together with one and the same sentence."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from pytorch_lightning import Trainer

from lit_knn.errors import UserError
from lit_knn.gloo import patient_group
from lit_knn.preemption import Preempted

PARENT_SECONDS = 10.0


@contextmanager
def together(trainer: Trainer) -> Iterator[None]:
    """Wait at the end for all processes, and fail in each of them if one has.

    The processes that do not fail finish what they were doing. Any other exception is a bug and not waited for.

    Args:
        trainer: Has started the processes.

    Raises:
        UserError: The first of any process.
        Preempted: If one was asked to stop.
    """
    failure: UserError | Preempted | None = None
    try:
        yield
    except (UserError, Preempted) as error:
        failure = error
    if trainer.world_size > 1 and dist.is_initialized():
        failure = _first(failure)
        if failure is not None:
            _let_parent_leave_first(trainer)
    if failure is not None:
        raise failure


def _first(mine: UserError | Preempted | None) -> UserError | Preempted | None:
    """Return the failure of the lowest rank that has one."""
    group = patient_group()
    answer: str | int | None = None
    if mine is not None:
        answer = mine.signum if isinstance(mine, Preempted) else str(mine)
    answers: list[str | int | None] = [None] * dist.get_world_size()
    dist.all_gather_object(answers, answer, group=group)
    dist.destroy_process_group(group)
    for answer in answers:
        if answer is not None:
            return Preempted(answer) if isinstance(answer, int) else UserError(answer)
    return None


def _let_parent_leave_first(trainer: Trainer) -> None:
    """Wait until the process that started this one has ended: Lightning kills it if it sees this one fail before."""
    launcher = trainer.strategy.launcher
    environment = getattr(launcher, "cluster_environment", None)
    if environment is None or environment.creates_processes_externally or trainer.local_rank == 0:
        return
    parent, started = os.getppid(), time.monotonic()
    while os.getppid() == parent and time.monotonic() - started < PARENT_SECONDS:
        time.sleep(0.05)
