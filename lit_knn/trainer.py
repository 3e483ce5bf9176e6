"""A Trainer whose commands are extract, index and test, with what evaluation under attack needs fixed."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities import rank_zero_info

from lit_knn.callbacks import default_callbacks
from lit_knn.data import ImageData
from lit_knn.errors import UserError
from lit_knn.evaluation import Evaluation
from lit_knn.extraction import Extraction, Fitting


class EvalTrainer(Trainer):
    """A Trainer that leaves gradients on, pads and drops no sample, and requeues nothing by itself.

    Lightning's defaults break each of these: inference mode refuses input gradients, its sampler repeats images to
    fill the last batch, and its SLURM handler makes a later test load the checkpoint of another.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if SLURMEnvironment.detect() and not kwargs.get("plugins"):
            kwargs["plugins"] = [SLURMEnvironment(auto_requeue=False)]
        super().__init__(*args, inference_mode=False, use_distributed_sampler=False, **kwargs)
        present = {type(callback) for callback in self.callbacks}  # type: ignore[attr-defined]
        self.callbacks += [callback for callback in default_callbacks() if type(callback) not in present]
        self.run_config: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}

    @cached_property
    def run_folder(self) -> Path:
        """The folder of this run below ``default_root_dir``; to be asked for first by all processes together.

        Under SLURM it bears the job's name and stays the same after a requeue, elsewhere the next free number.
        """
        root = Path(self.default_root_dir)
        if job := os.environ.get("SLURM_ARRAY_JOB_ID"):
            name = f"{job}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        else:
            name = os.environ.get("SLURM_JOB_ID", "")
        folder = None
        if self.is_global_zero:
            folder = root / name if name else _next_free(root)
            folder.mkdir(parents=True, exist_ok=True)
        return Path(self.strategy.broadcast(folder))

    def extract(self, model: Evaluation, datamodule: ImageData) -> None:
        """Extract features, softmax and weights of the database into a store; run again to resume.

        Args:
            model: Its classifier and database say what to extract.
            datamodule: Its database gives the images.
        """
        database = _database(model)
        shards = range(len(datamodule.database.shard_names()))
        self._fit_projections(model, datamodule)
        fingerprint = database.fingerprint(model.classifier, datamodule)
        pending = database.unsealed(shards, fingerprint)
        rank_zero_info(f"extract: {len(shards) - len(pending)} of {len(shards)} shards are sealed in {database.path}")
        if pending:
            with Extraction(model.classifier, database, datamodule, pending, fingerprint) as extraction:
                self.predict(extraction, return_predictions=False)
        self.strategy.barrier("shards sealed")
        if self.is_global_zero:
            database.write_manifest(shards)
        self.strategy.barrier("manifest written")

    def _fit_projections(self, model: Evaluation, datamodule: ImageData) -> None:
        database = _database(model)
        if not database.missing_projections(model.classifier, datamodule):
            return
        batches = len(datamodule.fitting_batches(database.projection_rows, rank=0, world_size=1))
        if batches < self.world_size:
            raise UserError(f"{batches} batches of the database cannot be shared by {self.world_size} processes")
        fitting = Fitting(model.classifier, database, datamodule)
        self.predict(fitting, return_predictions=False)
        projections = fitting.projections()
        if self.is_global_zero:
            database.save_projections(projections, model.classifier, datamodule)
        self.strategy.barrier("projections saved")

    def index(self, model: Evaluation, datamodule: ImageData) -> None:
        """Build the search index of each tap from the store.

        Args:
            model: Its database says which index.
            datamodule: Tells whether the store was made from these images.
        """
        if self.is_global_zero:
            _database(model).build_indexes(model.classifier, datamodule)
        self.strategy.barrier("indexes built")

    def test(self, model: Evaluation, datamodule: ImageData) -> None:  # type: ignore[override]
        """Attack, defend and score; write the record, table and figures of the run.

        Args:
            model: Classifier, threats, attacks and defenses.
            datamodule: Queries and database.
        """
        if model.needed and _database(model).build_missing:
            if not _database(model).is_complete(model.classifier, datamodule):
                self.extract(model, datamodule)
                self.index(model, datamodule)
        super().test(model, datamodule=datamodule, verbose=False)


def _database(model: Evaluation) -> Any:
    if model.database is None:
        raise UserError("the configuration has no model.database, so there is nothing to extract, index or search")
    return model.database


def _next_free(root: Path) -> Path:
    numbers = [int(path.name[4:]) for path in root.glob("run-*") if path.name[4:].isdigit()]
    return root / f"run-{max(numbers, default=0) + 1:03d}"
