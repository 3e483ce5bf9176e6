"""How far a command is: a bar with images per second on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress(ProgressBar):
    """Show progress of test and of both passes of extract, in batches of this process and images of all.

    A test also shows which attack it is at.

    Args:
        seconds: Time between two lines where standard error is not a terminal, as in the log of a job.
    """

    def __init__(self, *, seconds: float = 30.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._enabled = True
        self._bar: RichProgress | None = None

    def enable(self) -> None:
        """Show progress; Lightning calls this."""
        self._enabled = True

    def disable(self) -> None:
        """Show none; Lightning calls this on all processes but the first."""
        self._enabled = False

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        (self._bar.console if self._bar else Console(stderr=True)).print(*args, **kwargs)

    def _begin(self, trainer: Trainer, pl_module: LightningModule, batches: list[int | float]) -> None:
        self._what = type(pl_module).__name__.lower()
        self._module = pl_module
        self._total = None if float("inf") in batches else int(sum(batches))
        self._done, self._images = 0, 0
        self._started = self._said = time.monotonic()
        self._world_size = trainer.world_size
        if self._enabled and sys.stderr.isatty():
            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._what, total=self._total, rate="")

    def _advance(self, batch: Any) -> None:
        self._done += 1
        self._images += len(batch["id"]) * self._world_size  # the other processes are about as far
        rate = f"{self._images / max(time.monotonic() - self._started, 1e-9):.3g} images/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, rate=rate)
        status = getattr(self._module, "status", "")  # of an extraction: its shards
        self._say(", ".join(filter(None, (f"batch {self._done} of {self._total or '?'}", status, rate))))

    def tell(self, work: str) -> None:
        """Show the attack a batch is under, or what follows the last: either may take longer than anybody waits."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._what}, {work}")
        self._say(work if self._done == self._total else f"batch {self._done + 1} of {self._total or '?'}, {work}")

    def _say(self, what: str) -> None:
        now = time.monotonic()
        if self._bar is None and self._enabled and now - self._said >= self.seconds:
            self._said = now
            sys.stderr.write(f"{self._what}: {what}, {timedelta(seconds=round(now - self._started))} elapsed\n")
            sys.stderr.flush()

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._begin(trainer, pl_module, trainer.num_test_batches)

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *indices: int) -> None:
        """Advance."""
        self._advance(batch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._end()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._begin(trainer, pl_module, trainer.num_predict_batches)

    def on_predict_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *indices: int) -> None:
        """Advance."""
        self._advance(batch)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._end()
