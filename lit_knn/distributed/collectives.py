"""Several processes succeed together, or stop together with one and the same sentence.

A process that waits in a collective of PyTorch does not learn that another has failed elsewhere. So each keeps one more
connection, to a hub in the first of them, which passes on who is done, and why one has failed; that a connection breaks
tells who was killed. The others' waiting in gloo ends as soon as the failed one drops its connections; between two
pieces of work they ask (`check_others`); and who still waits then, or is not free in time, in a batch of an hour, is
ended by a second thread.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import torch.distributed as dist
from pytorch_lightning import Trainer

from lit_knn.distributed import Failure, Hub, Launched
from lit_knn.distributed.gloo_groups import hang_up

GRACE_SECONDS = 30.0
WAKING_SECONDS = (
    5.0  # what waits in gloo is woken by then, once the failed process has ended or dropped its connections
)
NEWS_SECONDS = 10.0  # what a broken connection means is known by then
BROKEN = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe", re.IGNORECASE)

launched = Launched()


class Peers:
    """What this process knows of the others, while they do something together.

    Args:
        trainer: Has started the processes; all of them call this at the same time.
        grace: Seconds in which to end after another has failed.

    Attributes:
        failure: Of the process that failed first; None as long as none has.
        since: When this was known, in monotonic seconds.
    """

    def __init__(self, trainer: Trainer, grace: float) -> None:
        self.rank, self._size, self._grace = dist.get_rank(), dist.get_world_size(), grace
        one_machine = getattr(trainer, "num_nodes", 1) == 1
        host = "127.0.0.1" if one_machine else os.environ["MASTER_ADDR"]
        self._hub = Hub(self._size, host if one_machine else "", launched.ending) if self.rank == 0 else None
        place = [(self._hub.port, self._hub.secret) if self._hub else None]
        dist.broadcast_object_list(place, 0)
        if self._hub is not None:
            self._hub.start()
        port, secret = place[0]  # type: ignore[misc]
        self._link = Connection(socket.create_connection((host, port)).detach())
        self.failure: Failure | None = None
        self.since: float | None = None
        self._news, self._left = threading.Condition(), threading.Event()
        self._meetings = self._met = 0
        self._say("hello", secret, self.rank, f"{os.getpid()} on {socket.gethostname()}")
        threading.Thread(target=self._listen, daemon=True, name="peers").start()

    def meet(self, pause: Callable[[], object]) -> None:
        """Wait until all processes are here.

        Args:
            pause: Called now and then while waiting; may raise.

        Raises:
            UserError, Preempted, ProcessError: What another has failed with.
        """
        self._meetings += 1
        self._say("done", self._meetings)
        while not self._known(1.0, lambda: self._met >= self._meetings):
            pause()
        self.check()

    def check(self) -> None:
        """Raise what another process has failed with, if one has."""
        if self.failure is not None:
            raise self.failure.exception()

    def cause(self, error: BaseException) -> BaseException:
        """Tell the others of an exception, and return what all end with: it, or what came first somewhere else."""
        broken = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and BROKEN.search(str(error)))
        if not broken and self.failure is None:
            self._say("failed", *Failure.of(error, self.rank, self._size).message())
        if not self._known(NEWS_SECONDS) and broken:
            self._say("failed", *Failure.of(error, self.rank, self._size).message())
            self._known(NEWS_SECONDS)
        if self.failure is None or self.failure.rank == self.rank:
            return error
        return self.failure.exception()

    def leave(self) -> None:
        """Say farewell; the first process waits for all others, since they hear of each other through it."""
        self._left.set()
        self._say("bye")
        if self._hub is not None:
            self._hub.join(None if self.failure is None else self._grace)

    def _known(self, seconds: float, other: Callable[[], bool] = bool) -> bool:
        """Wait until a failure is known, or something else; return whether one of them is."""
        with self._news:
            return self._news.wait_for(lambda: self.failure is not None or other(), seconds)

    def _say(self, *message: Any) -> None:
        with suppress(OSError):  # the hub has gone, which the other thread hears
            self._link.send_bytes(json.dumps(message).encode())

    def _listen(self) -> None:
        while self.failure is None:
            try:
                word, *rest = json.loads(self._link.recv_bytes())
            except (EOFError, OSError):
                if self._left.is_set():
                    return
                sentence = f"process 1 of {self._size} has ended without a word, as one that was killed"
                word, rest = "stop", [0, "lost", sentence]
            with self._news:
                if word == "go":
                    self._met = rest[0]
                else:
                    self.failure, self.since = Failure(*rest), time.monotonic()
                self._news.notify_all()
        seconds = 0
        while not self._left.wait(1.0):
            seconds += 1
            if seconds >= self._grace or (seconds >= WAKING_SECONDS and _is_in_a_collective()):
                self._end(self.failure)

    def _end(self, failure: Failure) -> None:
        """End this process, whatever it waits for or does: all that it has finished is on disk."""
        text = f"stopped by {signal.Signals(int(failure.text)).name}" if failure.kind == "signal" else failure.text
        sys.stderr.write(f"lit-knn: {text}\n")
        sys.stderr.flush()
        launched.send(signal.SIGKILL)
        os._exit(failure.code)


def _is_in_a_collective() -> bool:
    """Return whether the main thread waits in PyTorch for other processes."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return frame.f_code.co_filename.startswith(os.path.dirname(dist.__file__))


_peers: Peers | None = None  # as there is one default process group


@contextmanager
def together(trainer: Trainer, *, grace: float = GRACE_SECONDS) -> Iterator[None]:
    """Wait at the end for all processes, and fail in each of them if one has.

    Args:
        trainer: Starts the processes, or has; each then calls `join`, unless they are there already.
        grace: Seconds in which a process has to end after another has failed.

    Raises:
        UserError: Another process has found input that the user can mend.
        Preempted: Another was asked to stop.
        ProcessError: Another has failed otherwise, or was killed.
    """
    if trainer.world_size == 1:
        yield
        return
    if dist.is_initialized():
        join(trainer, grace=grace)
    elif trainer.strategy.launcher is not None:
        launched.watch(trainer)
    error: BaseException | None = None
    try:
        yield
        meet()
    except BaseException as raised:  # noqa: BLE001 - the others wait for a process that is interrupted as well
        error = raised
    cause = _leave(error)
    if cause is not None:
        raise cause from (error if cause is not error else None)


def join(trainer: Trainer, *, grace: float = GRACE_SECONDS) -> None:
    """Get to know the other processes, all of which do the same; at once after the default process group is there."""
    global _peers
    launched.meet()
    if _peers is None and dist.is_initialized() and dist.get_world_size() > 1:
        _peers = Peers(trainer, grace)


def meet(pause: Callable[[], object] = bool) -> None:
    """Wait for all other processes, if there are any, and raise what one of them has failed with.

    Args:
        pause: Called now and then while waiting; may raise.
    """
    if _peers is not None:
        _peers.meet(pause)


def check_others() -> None:
    """Raise what another process has failed with, if one has."""
    if _peers is not None:
        _peers.check()


def failed_since() -> float | None:
    """Return since when it is known that another process has failed, in monotonic seconds; None if none has."""
    return _peers.since if _peers is not None else None


def _leave(error: BaseException | None) -> BaseException | None:
    global _peers
    launched.meet()
    if _peers is None:
        if error is not None:
            launched.end(0)
        return error
    peers, _peers = _peers, None
    if error is not None:
        error = peers.cause(error)
        hang_up()
    peers.leave()
    if error is not None:
        launched.end(GRACE_SECONDS)
    return error
