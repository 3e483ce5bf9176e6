"""Writes what a run found: record, CSV and figure into its folder, the table to the terminal."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, cast

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console

from lit_knn.backbones import Classifier, device_name, rounded_products
from lit_knn.engine.run_folder import RunTrainer, require_replaceable
from lit_knn.errors import UserError
from lit_knn.evaluation.defense_costs import defense_costs
from lit_knn.evaluation.metrics import by_line
from lit_knn.randomness import run_seed
from lit_knn.report.figures.curves import accuracy_curves
from lit_knn.report.figures.sizes import SIZES_FILE, size_figure, size_points
from lit_knn.report.results import Record
from lit_knn.report.results.breaks import BREAKS_FILE, write_breaks
from lit_knn.report.results.record import RECORD_FILE, RESULTS_FILE
from lit_knn.report.results.runs import Run
from lit_knn.report.run_view import print_run
from lit_knn.storage.atomic import remove_abandoned, write_text

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation

DECISIVE = ("lit_knn", "torch", "torchvision", "pytorch-lightning", "numpy", "h5py", "pillow")
CONFIG_FILE, CURVES_FILE = "config.yaml", "accuracy.png"
WRITTEN = (CONFIG_FILE, RECORD_FILE, RESULTS_FILE, BREAKS_FILE, CURVES_FILE, SIZES_FILE)
FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


class RunRecord(Callback):
    """Keep what a test finds: ``config.yaml`` when it starts, the rest when it has ended.

    Args:
        show: Print tables and what they say as well.
    """

    def __init__(self, *, show: bool = True) -> None:
        self.show = show

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and keep the configuration in the folder, which the evaluation has claimed."""
        self._started = time.monotonic()
        trainer, evaluation = cast(RunTrainer, trainer), cast("Evaluation", pl_module)
        folder = trainer.run_folder
        if trainer.is_global_zero:
            remove_abandoned(folder)
            require_replaceable(*(folder / name for name in WRITTEN))
            _require_as_many(folder, evaluation)
            write_text(folder / CONFIG_FILE, yaml.safe_dump(trainer.run_config, sort_keys=False))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print, once for all processes."""
        if not trainer.is_global_zero:
            return
        trainer, evaluation = cast(RunTrainer, trainer), cast("Evaluation", pl_module)
        trainer.seconds["test"] = round(time.monotonic() - self._started, 3)
        folder = trainer.run_folder
        record = _record(trainer, evaluation)
        record.save(folder)
        record.write_csv(folder / RESULTS_FILE)
        if evaluation.sample_results is not None and len(evaluation.cases) > 1:
            cases = [(threat.name, attack.name) for threat, attack in evaluation.cases]
            tested = evaluation.sample_results.read(_tested(evaluation))
            lines = evaluation.variants
            kept = ((ids, (by_line(results.hits, lines) > 0).numpy()) for ids, results in tested)
            write_breaks(folder / BREAKS_FILE, kept, cases, evaluation.deltas, lines, evaluation.norm)
        accuracy_curves(record, folder / CURVES_FILE)
        if points := size_points([Run(record.run, folder, record)]):
            size_figure(points, folder / SIZES_FILE)
        if self.show:
            print_run(record, folder, Console())


def _tested(evaluation: Evaluation) -> list[list[int]]:
    """Return the ids of each batch that a test takes, in all processes: a limit is that of each."""
    trainer, data = evaluation.trainer, evaluation.data
    batches = [batch.ids for batch in data.chosen.batches(data.batch_size)]
    return batches[: int(trainer.num_test_batches[0]) * trainer.world_size]


def _require_as_many(folder: Path, evaluation: Evaluation) -> None:
    """Refuse to replace a record by one of fewer queries, as with a smaller ``limit_test_batches``.

    Raises:
        UserError: If it would be, or the record is damaged.
    """
    if not (folder / RECORD_FILE).exists():
        return
    tested = sum(map(len, _tested(evaluation)))
    there = int(Record.load(folder).queries["images"])
    if tested < there:
        raise UserError(
            f"{folder} holds the record of {there:,} queries, and this test would replace it by one of {tested:,}: "
            "choose another trainer.run, or a larger trainer.limit_test_batches"
        )


def _record(trainer: RunTrainer, evaluation: Evaluation) -> Record:
    data, gallery, clean = evaluation.data, evaluation.gallery, evaluation.tally.clean.counts()
    store = None if gallery is None else gallery.store
    return Record(
        run=trainer.run_folder.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=trainer.seconds,
        config=trainer.run_config,
        versions={**_versions(), "device": device_name(evaluation.device), "TF32": rounded_products(evaluation.device)},
        git=_revision(),
        seed=run_seed(),
        fingerprints=evaluation.origin(),
        queries={
            "images": clean.seen,
            "source": data.queries.identity(),
            "right while clean": clean.right,
            "in the database": clean.stored,
            **({"left out": [[failure.key, failure.reason] for failure in data.left_out]} if data.left_out else {}),
        },
        database={}
        if store is None
        else {"rows": len(store), "skipped": store.skipped(), "checksum": store.checksum, **store.fingerprint},
        warnings=_warnings(evaluation),
        passes=evaluation.passes,
        costs=defense_costs(evaluation),
        results=evaluation.results,
    )


def _warnings(evaluation: Evaluation) -> list[str]:
    """Return what the parts of a run have to say before its results are believed, each sentence once."""
    networks = [module for module in evaluation.modules() if isinstance(module, Classifier)]
    parts = [evaluation.data, *networks, evaluation]
    return list(dict.fromkeys(sentence for part in parts for sentence in getattr(part, "warnings", [])))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "machine": platform.machine(), "system": sys.platform}
    for package in (*DECISIVE, *FAISS):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # only one of the three FAISS wheels is installed
    return versions


def _revision() -> str:
    """Return the git revision of this package's checkout, with ``-dirty`` if it was changed, or ""."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git
        return ""
    return answer.stdout.strip()
