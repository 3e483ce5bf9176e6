"""The processes that Lightning has started from this one, watched in its place.

Lightning's own observer kills the first process by SIGKILL, without a word, when another ends with an error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

from pytorch_lightning import Trainer

from lit_knn.errors import INTERRUPTED

LOOK_SECONDS = 0.2


class Launched:
    """What this process has started; nothing in those that were started, or that a scheduler did start.

    Until all have met, nobody can tell the first process that another has ended, and it waits in a call that hears no
    signal: a thread ends it.
    """

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._met = threading.Event()

    def watch(self, trainer: Trainer) -> None:
        """Begin to look for what the trainer starts."""
        self._met.clear()
        threading.Thread(target=self._look, args=(trainer,), daemon=True, name="launched").start()

    def meet(self) -> None:
        """Leave it to the hub to notice who ends, now that all have met."""
        self._met.set()

    def ending(self, rank: int) -> str:
        """Return how the process of a rank has ended, "" if it was not started here."""
        if not 0 < rank <= len(self.processes):
            return ""
        with suppress(subprocess.TimeoutExpired):
            code = self.processes[rank - 1].wait(timeout=1)
            return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with code {code}"
        return ""

    def send(self, signum: int) -> None:
        """Send a signal to all that still run."""
        for process in self.processes:
            process.send_signal(signum)

    def end(self, seconds: float) -> None:
        """Wait for all, and kill those that take longer: none outlives this process."""
        for process in self.processes:
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _look(self, trainer: Trainer) -> None:
        while not self._met.wait(LOOK_SECONDS):
            started = getattr(trainer.strategy.launcher, "procs", [])
            self.processes += started
            started.clear()  # the list that Lightning's observer looks at
            for rank, process in enumerate(self.processes, 1):
                if process.poll():
                    self._give_up(rank, process.returncode)

    def _give_up(self, rank: int, code: int) -> None:
        sentence = f"process {rank + 1} of {len(self.processes) + 1} {self.ending(rank)} before it met the others"
        if code == INTERRUPTED:
            sentence = "interrupted before it began; the same command starts again"
        sys.stderr.write(f"lit-knn: {sentence}\n")
        sys.stderr.flush()
        self.send(signal.SIGKILL)
        os._exit(code if code > 0 else 1)
