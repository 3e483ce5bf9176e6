"""A Trainer whose commands are extract, index and test, with what evaluation under attack needs fixed."""

from __future__ import annotations

import logging
import time
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.plugins.environments import SLURMEnvironment

from lit_knn.callbacks import FixedThreads, Progress, WandbResults, default_callbacks
from lit_knn.data import ImageData
from lit_knn.errors import UserError
from lit_knn.evaluation import Evaluation
from lit_knn.extraction import Extraction, Fitting
from lit_knn.run import RunTrainer
from lit_knn.store import write_manifest

log = logging.getLogger(__name__)


class EvalTrainer(RunTrainer):
    """A Trainer that leaves gradients on, pads and drops no sample, and requeues nothing by itself.

    Lightning's defaults break each of these: inference mode refuses input gradients, its sampler repeats images to
    fill the last batch, and its SLURM handler makes a later test load the checkpoint of another.

    Args:
        threads: CPU threads of each process of a run on the CPU, by default ``OMP_NUM_THREADS`` or 1: the same bytes
            for any number of processes need the same number in each. More processes put more cores to use.
        callbacks: More than those that every run has, or one of these with other settings; they act after the record
            has been written.
    """

    def __init__(
        self,
        *args: Any,
        threads: int | None = None,
        callbacks: list[Callback] | Callback | None = None,
        **kwargs: Any,
    ) -> None:
        if SLURMEnvironment.detect() and not kwargs.get("plugins"):
            kwargs["plugins"] = [SLURMEnvironment(auto_requeue=False)]
        chosen = callbacks or []
        chosen = chosen if isinstance(chosen, list) else [chosen]
        kept = {type(callback) for callback in chosen}
        if kwargs.get("enable_progress_bar") is False:
            kept.add(Progress)
        usual = [callback for callback in default_callbacks() if type(callback) not in kept]
        super().__init__(
            *args,
            callbacks=[FixedThreads(threads), *sorted([*usual, *chosen], key=_place)],
            inference_mode=False,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            **kwargs,
        )

    def extract(self, model: Evaluation, datamodule: ImageData) -> None:
        """Extract features, softmax and weights of the database into a store; run again to resume.

        Args:
            model: Its classifier and database say what to extract.
            datamodule: Its database gives the images.
        """
        database, classifier = model.required_database, model.classifier
        if not (isinstance(self.limit_predict_batches, float) and self.limit_predict_batches == 1):
            raise UserError("extract takes all of the database: leave out trainer.limit_predict_batches")
        started = time.monotonic()
        if database.unfitted():
            fitting = Fitting(classifier, database, datamodule)
            self.predict(fitting, return_predictions=False)
            fitting.merge()
            if self.is_global_zero:
                origins = database.origins(classifier, datamodule)
                for tap, projection in fitting.projections().items():
                    projection.save(database.projection_path(tap), origins[tap])
            self.strategy.barrier("projections saved")
        projections, fingerprint = database.fitted(classifier, datamodule)
        shards = range(len(datamodule.database_source.shard_names()))
        pending = database.unsealed(shards, fingerprint)
        if self.is_global_zero:
            log.info("%d of %d shards are sealed in %s", len(shards) - len(pending), len(shards), database.path)
        if pending:
            extraction = Extraction(classifier, database, datamodule, projections, pending, fingerprint)
            try:
                self.predict(extraction, return_predictions=False)
            finally:
                extraction.close()
            self.strategy.barrier("shards sealed")
        if self.is_global_zero:
            write_manifest(database.store_path, shards)
        self.strategy.barrier("manifest written")
        self.seconds["extract"] = round(time.monotonic() - started, 3)

    def index(self, model: Evaluation, datamodule: ImageData) -> None:
        """Build the search index of each tap from the store.

        Args:
            model: Its database says which index.
            datamodule: Tells whether the store was made from these images.
        """
        started = time.monotonic()
        if self.is_global_zero:
            model.required_database.build_indexes(model.classifier, datamodule)
        self.strategy.barrier("indexes built")
        self.seconds["index"] = round(time.monotonic() - started, 3)

    def test(self, model: Evaluation, datamodule: ImageData) -> None:  # type: ignore[override]
        """Attack, defend and score; write record, results and figures into the folder of the run.

        Args:
            model: Classifier, threats, attacks, defenses and database.
            datamodule: Queries and database.
        """
        if model.needed and model.required_database.build_missing and not model.required_database.is_complete():
            self.extract(model, datamodule)
            self.index(model, datamodule)
        super().test(model, datamodule=datamodule, verbose=False)


def _place(callback: Callback) -> int:
    """Bars go before anything is printed; dashboards come last and show all files; the rest stays in order."""
    return isinstance(callback, WandbResults) - isinstance(callback, ProgressBar)
