"""The same results for wandb dashboards, if the run has a WandbLogger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger

from lit_knn.engine.run_folder import RunTrainer
from lit_knn.report.results.record import COLUMNS, COUNTS, variant

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation


class WandbResults(Callback):
    """Log accuracy against the perturbation norm, the table of results, and the pictures of the run folder."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log to each wandb logger, once for all processes."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    self._log(logger.experiment, cast(RunTrainer, trainer), cast("Evaluation", pl_module))

    def _log(self, run: Any, trainer: RunTrainer, evaluation: Evaluation) -> None:
        import wandb

        run.define_metric("perturbation_norm", hidden=True)
        run.define_metric("curve/*", step_metric="perturbation_norm")
        # runs over databases of different size share the names of their curves, unless a run has several sizes itself
        several = len(evaluation.views) > 1
        points: dict[tuple[str, str, float], dict[str, float]] = {}
        for row in evaluation.results:
            case = (row["threat"], row["attack"], row["delta"])
            point = points.setdefault(case, {"perturbation_norm": row["delta_mean"]})
            words = variant(row).words()
            line = "-".join(word for field, word in words.items() if several or field != "rows")
            point[f"curve/{row['threat']}/{row['attack']}/{line}/top{row['topk']}"] = row["accuracy"]
        for point in points.values():
            run.log(point)
        rows = [[str(value) if name in COUNTS else value for name, value in row.items()] for row in evaluation.results]
        pictures = {path.stem: wandb.Image(str(path)) for path in sorted(trainer.run_folder.glob("*.png"))}
        run.log({"results": wandb.Table(columns=list(COLUMNS), data=rows), **pictures})
        run.config.update(trainer.run_config, allow_val_change=True)
        run.summary["run_folder"] = str(trainer.run_folder)
