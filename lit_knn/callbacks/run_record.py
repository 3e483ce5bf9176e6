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

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console

from lit_knn.report import Record, accuracy_curves, accuracy_table, summary
from lit_knn.report.record import RESULTS_FILE

if TYPE_CHECKING:
    from lit_knn.evaluation import Evaluation
    from lit_knn.trainer import EvalTrainer

DECISIVE = ("lit_knn", "torch", "torchvision", "pytorch-lightning", "numpy", "h5py", "pillow")
FAISS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs")


class RunRecord(Callback):
    """Write ``record.json``, ``results.csv`` and ``accuracy.png`` when a test has ended."""

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and agree on the folder while all processes are together."""
        self._started = time.monotonic()
        cast("EvalTrainer", trainer).run_folder  # noqa: B018 - its first use is a broadcast

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write and print, once for all processes."""
        if not trainer.is_global_zero:
            return
        trainer, evaluation = cast("EvalTrainer", trainer), cast("Evaluation", pl_module)
        trainer.seconds["test"] = round(time.monotonic() - self._started, 3)
        folder = trainer.run_folder
        record = _record(trainer, evaluation)
        record.save(folder)
        record.write_csv(folder / RESULTS_FILE)
        accuracy_curves(record, folder / "accuracy.png")
        console = Console()
        console.print(accuracy_table(record))
        console.print(summary(record), highlight=False)
        console.print(f"Record, results, figures and configuration: {folder}", highlight=False, soft_wrap=True)


def _record(trainer: EvalTrainer, evaluation: Evaluation) -> Record:
    data, database = evaluation.data, evaluation.database
    store = database.store if database is not None and evaluation.needed else None
    return Record(
        run=trainer.run_folder.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=trainer.seconds,
        config=trainer.run_config,
        versions=_versions(),
        git=_revision(),
        seed=int(trainer.run_config.get("seed_everything") or 0),
        fingerprints={
            "classifier": evaluation.classifier.fingerprint(),
            **{f"attacked by {t.name}": t.attacked(evaluation.classifier).fingerprint() for t in evaluation.threats},
        },
        queries={"images": len(data.expected_query_ids()), "source": data.queries.identity()},
        database={}
        if store is None
        else {"rows": len(store), "skipped": store.skipped(), "checksum": store.checksum, **store.fingerprint},
        results=evaluation.results,
    )


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
