"""Why one process ends, as the others are told."""

from __future__ import annotations

import signal
from dataclasses import astuple, dataclass
from typing import Literal

from lit_knn.distributed.preemption import Preempted
from lit_knn.errors import ProcessError, UserError


@dataclass(frozen=True)
class Failure:
    """What a process has failed with, small enough to be sent.

    Attributes:
        rank: Of the process.
        kind: ``input`` that the user can mend, a ``signal`` that asked it to stop, a ``fault`` of the program, or a
            process that is ``lost``.
        text: The sentence, or the number of the signal.
    """

    rank: int
    kind: Literal["input", "signal", "fault", "lost"]
    text: str

    @classmethod
    def of(cls, error: BaseException, rank: int, size: int) -> Failure:
        """Return how one of ``size`` processes tells the others of an exception."""
        if isinstance(error, Preempted):
            return cls(rank, "signal", str(error.signum))
        if isinstance(error, KeyboardInterrupt):
            return cls(rank, "signal", str(int(signal.SIGINT)))
        if isinstance(error, UserError):
            return cls(rank, "input", str(error))
        if isinstance(error, ProcessError):
            return cls(rank, "fault", str(error))
        what = " ".join(f"{type(error).__name__}: {error}".split())
        return cls(rank, "fault", f"process {rank + 1} of {size} has failed, and says where above: {what}")

    def exception(self) -> UserError | Preempted | ProcessError:
        """Return what another process ends with."""
        if self.kind == "input":
            return UserError(self.text)
        return Preempted(int(self.text)) if self.kind == "signal" else ProcessError(self.text)

    @property
    def code(self) -> int:
        """The exit code that goes with it."""
        return int(str(self.exception().code))

    def message(self) -> list[int | str]:
        """Return it as a list for JSON."""
        return list(astuple(self))
