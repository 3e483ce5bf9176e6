"""What a test may know of the run that it is part of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pytorch_lightning import Trainer


class RunContext(NamedTuple):
    """Where a test keeps things, whom it tells how far it is, and where it may be stopped.

    Attributes:
        folder: Of the run, the same in all processes; None where nothing is kept.
        tell: Told what is done next: a batch may take an hour.
        pause: Called between pieces of work; may raise.
    """

    folder: Path | None = None
    tell: Callable[[str], object] = str
    pause: Callable[[], object] = bool


def context_of(trainer: Trainer) -> RunContext:
    """Return the context that a Trainer gives as ``run_context``; an empty one of any other Trainer.

    To be asked for by all processes together, as they agree on a folder.
    """
    context = getattr(trainer, "run_context", None)
    return context if isinstance(context, RunContext) else RunContext()
