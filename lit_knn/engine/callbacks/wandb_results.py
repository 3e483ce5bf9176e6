"""The same results for wandb dashboards, if the run has a WandbLogger."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger

from lit_knn.engine.run_folder import RunTrainer
from lit_knn.engine.wandb_identity import forget
from lit_knn.report.attackers import attackers
from lit_knn.report.dashboard import curve_names, picture_name, points, size_name, summary
from lit_knn.report.results import Record
from lit_knn.report.results.record import COLUMNS, NUMBERS

LONGEST_TAG = 64  # characters
CAPTIONS = {
    "accuracy": "Accuracy against the size of the perturbation",
    "database-size": "Accuracy against the number of rows in the database",
}
NEIGHBORS = "neighbors-"


class WandbResults(Callback):
    """Log the configuration first, and in the end curves over the size of the perturbation, tables and pictures."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let an interrupted run say what it was."""
        for run in _runs(trainer):
            run.config.update(cast(RunTrainer, trainer).run_config, allow_val_change=True)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what the record of the run holds, and the pictures beside it, once for all processes."""
        for run in _runs(trainer):
            folder = cast(RunTrainer, trainer).run_folder
            log_record(run, Record.load(folder), folder)
            forget(folder)


def log_record(run: Any, record: Record, folder: Path) -> None:
    """Log a record and the pictures of its folder to a run of wandb."""
    import wandb

    run.define_metric(size_name(record.norm), hidden=True)
    for name in curve_names(record).values():  # one by one: of patterns, Lightning's own `*` may be the one that counts
        run.define_metric(name, step_metric=size_name(record.norm))
    for point in points(record):
        run.log(point)
    rows = [[value if name in NUMBERS else str(value) for name, value in row.items()] for row in record.results]
    pictures = {
        picture_name(path.stem): wandb.Image(str(path), caption=_caption(path.stem))
        for path in sorted(folder.glob("*.png"))
    }
    run.log({"results": wandb.Table(columns=list(COLUMNS), data=rows), **pictures})
    run.summary.update({**summary(record), "run_folder": str(folder)})
    threats = [attacker.title[:LONGEST_TAG] for attacker in attackers(record)]
    run.tags = tuple(dict.fromkeys((*(run.tags or ()), record.norm, *threats)))


def _runs(trainer: Trainer) -> Iterator[Any]:
    """Yield what is to be logged to, in the one process that does."""
    if trainer.is_global_zero:
        yield from (logger.experiment for logger in trainer.loggers if isinstance(logger, WandbLogger))


def _caption(stem: str) -> str | None:
    if stem.startswith(NEIGHBORS):
        tap = stem.removeprefix(NEIGHBORS)
        return f"A query, clean and attacked, and its nearest neighbors at the tap {tap}"
    return CAPTIONS.get(stem)
