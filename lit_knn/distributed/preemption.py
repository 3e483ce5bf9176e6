"""Being asked to stop: end between two pieces of work, all processes together, and ask for another turn."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from lit_knn.distributed.slurm import job_id
from lit_knn.errors import INTERRUPTED

log = logging.getLogger(__name__)

EX_TEMPFAIL = 75  # sysexits.h: "temporary failure; the user is invited to try again later"
ASKING_SECONDS = 60.0  # a busy Slurm answers late


class Preempted(SystemExit):
    """The process was asked to stop, and has; the same command goes on where it stopped.

    Args:
        signum: Of the signal that asked; Ctrl-C sends SIGINT, and shells know 130 for it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(INTERRUPTED if signum == signal.SIGINT else EX_TEMPFAIL)
        self.signum = signum


def requeue(environment: Mapping[str, str]) -> bool:
    """Ask Slurm to start this job, or task of an array, again; return whether it will.

    Slurm ends the job at once, so this is the last thing that one process of it does.
    """
    if not (job := job_id(environment)):
        return False
    try:
        answer = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        log.warning("job %s cannot be requeued (%s): submit it again", job, error)
        return False
    if answer.returncode:
        log.warning("job %s cannot be requeued (%s): submit it again", job, answer.stderr.strip())
    return answer.returncode == 0


def leave(preempted: Preempted, *, first: bool, ask: bool, again: str = "the same command goes on") -> None:
    """Say why the process ends, and ask for another turn; one process speaks for all, and the others wait for it.

    SIGUSR1 is notice of the end of the job's time, given by ``sbatch --signal`` or a person. On SIGTERM Slurm has
    decided already: it starts a preempted job again by itself, and one that ``scancel`` ended must stay ended.

    Args:
        preempted: What it ends with.
        first: Whether this is that process.
        ask: Whether Slurm may be asked to start the job again.
        again: What goes on where it stopped.
    """
    ask = ask and preempted.signum == signal.SIGUSR1
    if not first:
        if ask and job_id(os.environ):
            time.sleep(ASKING_SECONDS)  # Slurm ends it sooner; if this process left, srun could end the one that asks
        return
    name = "Ctrl-C" if preempted.signum == signal.SIGINT else signal.Signals(preempted.signum).name
    again = "Slurm starts it again" if ask and requeue(os.environ) else again
    sys.stderr.write(f"lit-knn: stopped by {name} with nothing lost; {again}\n")
    sys.stderr.flush()
