"""All that a test counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lit_knn.evaluation.metrics.audit import SampleAudit
from lit_knn.evaluation.metrics.clean import CleanQueries, cautions
from lit_knn.evaluation.metrics.flat import FlatGradients
from lit_knn.evaluation.metrics.passes import NetworkPasses
from lit_knn.evaluation.metrics.protocol import by_line
from lit_knn.evaluation.metrics.robust_accuracy import RobustAccuracy
from lit_knn.report.results import WORST_CASE
from lit_knn.report.results.budgets import DEFAULT, NormName

if TYPE_CHECKING:  # names only, as for the accuracy
    from lit_knn.evaluation.sample_results import SampleResults
    from lit_knn.report.results import Variant


class Tally(nn.Module):
    """Accuracies of each case and, of several, the worst one of each image; what else is counted of the queries.

    Args:
        cases: Names (threat, attack).
        deltas: Sizes of perturbation, 0 included.
        variants: The lines of the results.
        topk: Values of k, below C.
        norm: What the sizes are in.
        cascade: Whether only the worst case is known.
    """

    def __init__(
        self,
        cases: Sequence[tuple[str, str]],
        deltas: Sequence[float],
        variants: Sequence[Variant],
        topk: Sequence[int],
        *,
        norm: NormName = DEFAULT,
        cascade: bool = False,
    ) -> None:
        super().__init__()
        self._cascade, self._several = cascade, len(cases) > 1
        counted = [WORST_CASE] if cascade else [*cases, WORST_CASE] if self._several else cases
        self.accuracy = RobustAccuracy(counted, deltas, variants, topk, norm=norm)
        self.audit, self.clean, self.flat = SampleAudit(), CleanQueries(), FlatGradients(cases, deltas, norm)
        self.passes = NetworkPasses(cases, deltas)

    def count(self, ids: Tensor, results: SampleResults) -> None:
        """Count what became of the queries with these ids ``(N,)``, in every case and in the worst one."""
        parts = results.worst_case().cells if self._cascade else results.cells
        if self._several and not self._cascade:
            parts = [torch.cat(both) for both in zip(parts, results.worst_case().cells, strict=True)]
        right, *realized = parts
        self.accuracy.update(by_line(right, self.accuracy.variants), *realized)
        self.clean.update(results.right, results.stored)
        self.flat.update(results.flat)
        self.passes.update(results.passes)
        self.audit.update(ids)

    def cautions(self, num_classes: int) -> list[str]:
        """Return what to know before the accuracies are believed, in full sentences; every process must take part."""
        clean = self.clean.counts()
        return cautions(clean, num_classes) + self.flat.cautions(clean.seen)
