"""What a Trainer would run with, for who looks at a configuration without running it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning import Trainer

from lit_knn.data import ImageData
from lit_knn.doctor.examination import examine
from lit_knn.engine.callbacks import FixedThreads
from lit_knn.evaluation.module import Evaluation
from lit_knn.report.results import Finding


def examine_run(trainer: Trainer, evaluation: Evaluation, data: ImageData) -> list[Finding]:
    """Return what there is of a run, and what it will take on the trainer's device, with as many threads.

    Args:
        trainer: An `EvalTrainer`.
        evaluation: Its model.
        data: Its images.
    """
    with as_in_a_run(trainer, evaluation):
        return examine(evaluation, data, trainer.strategy.root_device, Path(trainer.default_root_dir))


@contextmanager
def as_in_a_run(trainer: Trainer, evaluation: Evaluation) -> Iterator[None]:
    """Compute with as many threads as a run of an `EvalTrainer` does."""
    (threads,) = (callback for callback in trainer.callbacks if isinstance(callback, FixedThreads))  # type: ignore[attr-defined]
    threads.setup(trainer, evaluation, "doctor")
    try:
        yield
    finally:
        threads.teardown(trainer, evaluation, "doctor")
