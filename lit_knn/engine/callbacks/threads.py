"""One number of CPU threads, whatever the number of processes: rounding depends on it."""

from __future__ import annotations

import os
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lit_knn.errors import UserError


class FixedThreads(Callback):
    """Fix PyTorch's threads in each process while a pass runs on the CPU.

    Lightning shares the cores among the processes. A convolution over a small batch then rounds otherwise with two
    processes than with one, and the bytes of a run would depend on how many there were.

    Args:
        threads: Of each process; by default ``OMP_NUM_THREADS``, or 1. More cores are put to use by more processes.
    """

    def __init__(self, threads: int | None = None) -> None:
        cores = os.cpu_count() or 1
        if threads is not None and not 1 <= threads <= cores:
            raise UserError(f"trainer.threads is {threads}; 1 to {cores}, the cores of this machine, are accepted")
        self.threads = threads or _usual()
        self._before: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Fix the threads; all processes have been started by now."""
        if trainer.strategy.root_device.type == "cpu":
            self._before = torch.get_num_threads()
            torch.set_num_threads(self.threads)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give them back."""
        if self._before is not None:
            torch.set_num_threads(self._before)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Give them back."""
        self.teardown(trainer, pl_module, "")


def _usual() -> int:
    """Return the first of the numbers in ``OMP_NUM_THREADS``, which has one for each level of nesting."""
    text = os.environ.get("OMP_NUM_THREADS") or "1"
    if not (first := text.partition(",")[0].strip()).isdecimal() or not int(first):
        raise UserError(f"OMP_NUM_THREADS is {text!r}; a whole number from 1 is accepted")
    return int(first)
