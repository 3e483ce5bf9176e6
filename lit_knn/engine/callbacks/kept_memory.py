"""Networks on the CPU use the memory of one batch for the next."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from lit_knn.storage.allocation import memory_kept


class KeptMemory(Callback):
    """Let glibc keep what is freed while a pass runs on the CPU; see `lit_knn.storage.allocation.memory_kept`."""

    def __init__(self) -> None:
        self._kept = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep from now on."""
        if trainer.strategy.root_device.type == "cpu":
            self._kept.enter_context(memory_kept())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give all of it back."""
        self._kept.close()

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Give all of it back."""
        self._kept.close()
