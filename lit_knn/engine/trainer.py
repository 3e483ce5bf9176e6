"""A Trainer with the commands of `lit-knn`, and what evaluation under attack needs fixed."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning import Callback
from pytorch_lightning.plugins.environments import SLURMEnvironment

from lit_knn.backbones import set_precision, verify_precision
from lit_knn.data import ImageData
from lit_knn.database import building
from lit_knn.database.building import DatabasePass, Extraction, Fitting, IndexBuilder, MomentFiles
from lit_knn.database.building.indexing import Stage
from lit_knn.database.building.tap_table import print_taps
from lit_knn.distributed.collectives import meet, together
from lit_knn.distributed.partition import Partition
from lit_knn.distributed.preemption import Preempted, leave
from lit_knn.doctor.telling import tell
from lit_knn.engine.callbacks import FixedThreads, KeptMemory, PreemptionGuard, Progress, default_callbacks, place
from lit_knn.engine.examined import examine_run
from lit_knn.engine.run_folder import RunTrainer
from lit_knn.errors import ProcessError, UserError
from lit_knn.evaluation import readiness, validation
from lit_knn.evaluation.module import Evaluation
from lit_knn.storage.atomic import remove_abandoned

log = logging.getLogger(__name__)


class EvalTrainer(RunTrainer):
    """A Trainer that leaves gradients on, pads and drops no sample, and requeues nothing by itself.

    Lightning's defaults break each of these: inference mode refuses input gradients, its sampler repeats images to
    fill the last batch, and its SLURM handler makes a later test load the checkpoint of another.

    Args:
        threads: CPU threads of each process of a run on the CPU, by default ``OMP_NUM_THREADS`` or 1: the same bytes
            for any number of processes need the same number in each. More processes put more cores to use.
        callbacks: More than those that every run has, or one of these with other settings; they act after it.
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
        verify_precision(kwargs.get("precision"))  # Lightning makes another one of 16-mixed on a CPU, and says so aside
        chosen = [callbacks] if isinstance(callbacks, Callback) else callbacks or []
        kept = {type(callback) for callback in chosen}
        kept |= {Progress} if kwargs.get("enable_progress_bar") is False else set()
        guards = [callback for callback in chosen if isinstance(callback, PreemptionGuard)] or [PreemptionGuard()]
        self.preemption = guards[0]
        others = [callback for callback in chosen if callback is not self.preemption]
        usual = [callback for callback in default_callbacks() if type(callback) not in kept]
        super().__init__(
            *args,
            callbacks=[FixedThreads(threads), KeptMemory(), *sorted([*usual, *others, self.preemption], key=place)],
            inference_mode=False,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            **kwargs,
        )
        self.grace, self.pause = self.grace + self.preemption.grace, self.preemption.check
        verify_precision(self.precision)

    def fit(self, model: Evaluation, datamodule: ImageData, part: str = "") -> None:  # type: ignore[override]
        """Fit the projections, PCA of each tap; needed before parts of the database are extracted.

        Args:
            model: Its classifier and database say what to project.
            datamodule: Its database gives the images.
            part: ``3/16`` reads the third of sixteen parts of the shards, and whichever part ends last fits; by
                default the task's part in a Slurm array, and all elsewhere.
        """
        with self._command("fit", model):
            self._fit(model, datamodule, Partition.parse(part))

    def _fit(self, model: Evaluation, datamodule: ImageData, part: Partition) -> None:
        self._forbid_limits("fit")
        database = readiness.tapped_database(model.database, model.classifier)
        if not database.unfitted():
            return
        building.take_shards(database, datamodule, later=False)
        files = MomentFiles(database, model.classifier, datamodule)
        if part.is_whole or part in files.missing(part):
            fitting = Fitting(model.classifier, database, datamodule, part, files.kept(part))
            try:
                self._pass(fitting)
            except (UserError, Preempted, ProcessError):
                fitting.keep()
                raise
            fitting.merge()
            if self.is_global_zero:
                files.seal(fitting.moments, part)
        if self.is_global_zero and not part.is_whole:
            if missing := files.missing(part):
                log.info("part %s is read; %d of %d parts are missing", part, len(missing), part.count)
            else:
                files.fit(part.count)
        meet(self.preemption.check)

    def extract(self, model: Evaluation, datamodule: ImageData, part: str = "") -> None:
        """Extract features, softmax and weights of the database into a store; run again to resume.

        Args:
            model: Its classifier and database say what to extract.
            datamodule: Its database gives the images.
            part: ``3/16`` takes the third of sixteen parts of the shards, after `lit-knn fit`; by default the task's
                part in a Slurm array, and all elsewhere.
        """
        with self._command("extract", model):
            self._extract(model, datamodule, Partition.parse(part))

    def _extract(self, model: Evaluation, datamodule: ImageData, part: Partition) -> None:
        self._forbid_limits("extract")
        database = readiness.tapped_database(model.database, model.classifier)
        if part.is_whole:
            self._fit(model, datamodule, part)
        elif unfitted := database.unfitted():
            raise UserError(
                f"projection {database.projection_path(unfitted[0])} is missing or damaged: run `lit-knn fit`, in any "
                "number of parts, before parts are extracted"
            )
        building.take_shards(database, datamodule)
        extraction = Extraction.of_part(model.classifier, database, datamodule, part)
        if self.is_global_zero:
            remove_abandoned(database.store_path)
            log.info("%s in %s", extraction.found, database.store_path)
        try:
            self._pass(extraction)  # by all processes, even if this one finds nothing left to do
        finally:
            extraction.close()
        if self.is_global_zero:
            building.finish_store(database, datamodule)

    def index(self, model: Evaluation, datamodule: ImageData, part: str = "", stage: Stage = "all") -> None:
        """Build the search index of each tap from the store, and then what else the defenses need.

        What was made from something else than the configuration names gives way; what lacks new shards gets them.

        Args:
            model: Its database says which index.
            datamodule: Tells whether the store was made from these images.
            part: ``3/16`` adds the third of sixteen parts of the rows; by default the task's part in a Slurm array, and
                all elsewhere. Only for ``stage: add``.
            stage: ``train`` on a sample, ``add`` the rows of a part, ``merge`` all parts; or one after the other.
        """
        if part and stage != "add":
            raise UserError(f"part is {part!r}, which only `index --stage add` takes: add that, or leave --part out")
        rows = Partition.parse(part) if stage == "add" else Partition()
        self._index(model, datamodule, stage, rows, replace=True)

    def _index(self, model: Evaluation, data: ImageData, stage: Stage, part: Partition, *, replace: bool) -> None:
        with self._command("index", model):
            if self.is_global_zero:
                database, required = readiness.tapped_database(model.database, model.classifier), model.requirements
                builder = IndexBuilder(database, model.classifier, data, replace=replace)
                builder.build(stage, part, required.neighbors, required.resources, required.joined)

    def test(self, model: Evaluation, datamodule: ImageData) -> None:  # type: ignore[override]
        """Attack, defend and score; write record, results and figures into the folder of the run.

        Args:
            model: Classifier, threats, attacks, defenses and database.
            datamodule: Queries and database.

        Raises:
            UserError: If nothing would be measured.
        """
        if self.limit_test_batches == 0:
            accepted = "a number of batches from 1, or a share of them up to 1.0, is accepted"
            raise UserError(f"trainer.limit_test_batches is 0, so that nothing would be measured: {accepted}")
        self.command = "test"
        if model.requirements.database:
            validation.verify_sources(datamodule)
            database, required = readiness.tapped_database(model.database, model.classifier), model.requirements
            if database.build_missing and not database.is_complete(required.resources, required.joined):
                readiness.examine_queries(model, datamodule, self.strategy.root_device)
                self.extract(model, datamodule, str(Partition()))  # an array of tests is not one of extractions
                self._index(model, datamodule, "all", Partition(), replace=False)
        with self._command("test", model, timed=False):  # its record says how long it took
            super().test(model, datamodule=datamodule, verbose=False)

    def verify(self, model: Evaluation, datamodule: ImageData, part: str = "") -> None:
        """Read all of the database again and compare checksums; print what is wrong, and change nothing.

        Args:
            model: Its database says what there should be.
            datamodule: Its database gave the images.
            part: ``3/16`` reads the third of sixteen parts of the shards; as for extract.
        """
        with self._command("verify", model):
            if self.is_global_zero:
                database = readiness.tapped_database(model.database, model.classifier)
                building.verify(database, model.classifier, datamodule, Partition.parse(part))

    def taps(self, model: Evaluation, datamodule: ImageData) -> None:
        """Print each layer that a tap may name, as the first queries show it; writes nothing, and needs no database."""
        with self._command("taps", model):
            if self.is_global_zero:
                print_taps(model.encoder or model.classifier, datamodule)

    def doctor(self, model: Evaluation, datamodule: ImageData) -> None:
        """Say what there is, whether it belongs, and what it will take; exit with 1 if a command would fail."""
        with self._command("doctor", model):
            found = examine_run(self, model, datamodule) if self.is_global_zero else []
        tell(found)

    # ---------------------------------------------------------------- what commands have in common

    @contextmanager
    def _command(self, name: str, model: Evaluation, *, timed: bool = True) -> Iterator[None]:
        """Heed signals, end with all other processes, note how long it took; what is built depends on the precision."""
        self.command = "test" if self.keeps_record else name
        set_precision(model, self.precision)
        started = time.monotonic()
        try:
            with self.preemption.watching(self, name), together(self, grace=self.grace):
                try:
                    yield
                except RuntimeError as error:  # a signal to all processes ends those that read images, too
                    self.preemption.check(error)
                    raise
        except Preempted as preempted:
            leave(preempted, first=self.is_global_zero, ask=self.preemption.requeue, again=self.what_goes_on(name))
            raise
        if timed:
            self.seconds[name] = round(time.monotonic() - started, 3)

    def _pass(self, module: DatabasePass) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Total length of .* across ranks is zero")  # all has been done before
            self.predict(module, return_predictions=False)
        meet(self.preemption.check)

    def _forbid_limits(self, command: str) -> None:
        if not (isinstance(self.limit_predict_batches, float) and self.limit_predict_batches == 1):
            raise UserError(f"{command} takes all of the database: leave out trainer.limit_predict_batches")
