"""Heeds the signals by which schedulers ask a job to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lit_knn.distributed.collectives import check_others, failed_since, launched
from lit_knn.distributed.preemption import Preempted
from lit_knn.errors import UserError

AT_ONCE = ("index", "verify", "taps", "doctor")  # commands without batches that it could stop between


class PreemptionGuard(Callback):
    """On SIGTERM or SIGUSR1, stop after a batch, when the shard is sealed, or a unit of a scan; on Ctrl-C at once.

    So do doctor, index, verify and taps on any of them: what they have sealed stays, and a signal is heard between two
    calls of FAISS.

    ``sbatch --signal=USR1@SECONDS`` sends SIGUSR1 to every process of a step before the job's time ends, and Slurm is
    asked to start the job again. SIGTERM comes when a job is preempted, which Slurm starts again by itself, or
    canceled. Elsewhere than under Slurm the command ends with code 75, and goes on when it is run again.

    Args:
        grace: Seconds that extract goes on to finish the shard in hand; one that takes longer is dropped, and read
            again from its start. Has to be below the notice that Slurm gives.
        requeue: Let Slurm start the job again after SIGUSR1; otherwise that is left to somebody else.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, *, grace: float = 20.0, requeue: bool = True) -> None:
        if not grace >= 0:
            raise UserError(f"PreemptionGuard.grace is {grace}; seconds from 0 are accepted")
        self.grace, self.requeue = grace, requeue
        self._received: int | None = None
        self._since: float | None = None
        self._trainer: Trainer | None = None
        self._process = 0
        self._at_once = False

    @contextmanager
    def watching(self, trainer: Trainer, command: str = "") -> Iterator[None]:
        """Heed the signals, also between the passes of a command; give the handlers back afterwards.

        Args:
            trainer: Whose command it is.
            command: Which it is.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # Python lets no other thread handle signals
            return
        before = {signum: signal.getsignal(signum) for signum in self.SIGNALS}
        self._trainer, self._received, self._since, self._process = trainer, None, None, os.getpid()
        self._at_once = command in AT_ONCE
        show = sys.unraisablehook
        sys.unraisablehook = lambda what: None if isinstance(what.exc_value, Preempted) else show(what)
        self._install()
        try:
            yield
        finally:
            self._trainer, sys.unraisablehook = None, show
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _install(self) -> None:
        if self._trainer is not None:
            for signum in self.SIGNALS:
                signal.signal(signum, self._heed)

    def _heed(self, signum: int, frame: FrameType | None) -> None:
        """Take note; what a handler interrupts may hold any lock."""
        if self._trainer is None or os.getpid() != self._process:
            return  # a process that reads images ends with the one that has started it
        if signum == signal.SIGINT or self._at_once:  # a person waits, or nobody would ask
            self._received, self._since = signum, time.monotonic()  # should a finalizer swallow what is raised
            raise Preempted(signum)
        if self._received is None:
            self._received, self._since = signum, time.monotonic()
            launched.send(signum)

    def check(self, error: BaseException | None = None) -> None:
        """Stop here if that was asked, or another process has failed.

        Args:
            error: What the signal may have led to.

        Raises:
            Preempted: If it was asked.
            UserError, ProcessError: What another process has failed with.
        """
        check_others()  # whose end may be what the signal is for
        if self._received is not None:
            raise Preempted(self._received) from error

    def _check_after_batch(self, pl_module: Any) -> None:
        since = min((known for known in (self._since, failed_since()) if known is not None), default=None)
        holds = getattr(pl_module, "holds_unsealed_rows", False)
        if since is not None and (not holds or time.monotonic() - since >= self.grace):
            self.check()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the handlers back: Lightning's own talks to other processes from within."""
        self._install()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the handlers back: Lightning's own talks to other processes from within."""
        self._install()

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *indices: int) -> None:
        """Stop between two batches: what was observed of them is on disk."""
        self._check_after_batch(pl_module)

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *indices: int) -> None:
        """Stop between two shards, if the one in hand is done in time."""
        self._check_after_batch(pl_module)
