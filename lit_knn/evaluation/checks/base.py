"""The contract of a check: what is known about an evaluation in, one finding about its honesty out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from lit_knn.report.results import Finding, Row

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation


@dataclass(frozen=True)
class Evidence:
    """An evaluation that has ended.

    Args:
        rows: Its results.
        evaluation: Itself, with its database open, to attack again.
        image: ``(N, 3, H, W)`` float32 in [0, 1], the first queries, on the evaluation's device.
        label: ``(N,)`` int64.
        ids: ``(N,)`` int64.
    """

    rows: list[Row]
    evaluation: Evaluation
    image: Tensor
    label: Tensor
    ids: Tensor


class Check(ABC):
    """A question that an honest evaluation answers with yes.

    Attributes:
        name: What is to be shown, in a few words.
        of_single_attacks: Whether it compares attacks with each other, whose accuracies a cascade does not know.

    References:
        Carlini et al. 2019, "On Evaluating Adversarial Robustness", for most of them.
    """

    name: str
    of_single_attacks: bool = False

    @abstractmethod
    def __call__(self, evidence: Evidence) -> Finding:
        """Look at the results, or attack again, and judge."""


def run_checks(checks: Iterable[Check], evidence: Evidence) -> list[Finding]:
    """Return one finding per check, in their order."""
    without = "a cascade has no accuracies of single attacks: set model.cascade to false"
    return [
        Finding(check.name, "skipped", without)
        if check.of_single_attacks and evidence.evaluation.cascade
        else check(evidence)
        for check in checks
    ]
