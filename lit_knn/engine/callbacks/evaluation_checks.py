"""Asks of a run that has ended whether it can be believed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console

from lit_knn.engine.run_folder import RunTrainer, require_replaceable
from lit_knn.errors import UserError
from lit_knn.evaluation.checks import (
    BinarizationTest,
    Check,
    Evidence,
    FallsWithDelta,
    GradientMasking,
    MoreEffort,
    NoiseFloor,
    ReachesZero,
    ThreatOrder,
    run_checks,
)
from lit_knn.report.findings import CHECKS_FILE, findings_table
from lit_knn.storage.atomic import atomic_write

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation


class EvaluationChecks(Callback):
    """Print what an honest evaluation can show, check by check, and write it into ``checks.json`` of the run folder.

    Args:
        checks: Which; all by default. Some attack again.
        images: How many queries those attack, the first ones; those of the first batch at most.
    """

    def __init__(self, *, checks: list[Check] | None = None, images: int = 32) -> None:
        if images < 1:
            raise UserError(f"EvaluationChecks has images: {images}; 1 or more are accepted")
        self.checks = checks or [
            *(ReachesZero(), FallsWithDelta(), ThreatOrder(), NoiseFloor(), GradientMasking()),
            *(MoreEffort(), BinarizationTest()),
        ]
        self.images = images

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a folder in the place of what is written at the end."""
        require_replaceable(cast(RunTrainer, trainer).run_folder / CHECKS_FILE)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the results and attack a few images again, in the first process only."""
        if not trainer.is_global_zero:
            return
        evaluation = cast("Evaluation", pl_module)
        batch = evaluation.data.first_images(evaluation.device)
        image, label, ids = (batch[name][: self.images] for name in ("image", "label", "id"))
        findings = run_checks(self.checks, Evidence(evaluation.results, evaluation, image, label, ids))
        with atomic_write(cast(RunTrainer, trainer).run_folder / CHECKS_FILE) as unfinished:
            text = json.dumps([finding._asdict() for finding in findings], indent=1, ensure_ascii=False)
            unfinished.write_text(f"{text}\n", encoding="utf-8")
        Console().print(findings_table(findings))
