"""Accuracy under attack, counted exactly over any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchmetrics import Metric

from lit_knn.errors import UserError
from lit_knn.report.results.budgets import DEFAULT, NormName
from lit_knn.report.results.intervals import wilson

if TYPE_CHECKING:  # names only: metrics need neither defenses nor reports
    from lit_knn.report.results import Variant
    from lit_knn.report.results.record import Row

FIXED_POINT = 2**32  # sums of integers are the same in any order, and stay integers under `precision: 16-true`


class RobustAccuracy(Metric):
    """Hits and realized perturbations per case, Δ, defense variant and k.

    States are int64 of fixed size (A cases, E budgets Δ, V variants, T values of k), so that 1, 2 or 4 processes
    merge to the same numbers to the last bit. A query counts once in an interval, however often it was evaluated:
    evaluations of one image are not independent ones of several.

    Args:
        cases: Pairs (threat, attack).
        deltas: Budgets Δ, as configured.
        variants: The lines of the results, in the order of the scores; of several evaluations one for each protocol.
        topk: Values of k; those above C − 1 are to be left out, see `lit_knn.evaluation.metrics.hits`.
        norm: What the sizes are in.

    Raises:
        UserError: If one of the lists is empty or names something twice.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    correct: Tensor  # (A, E, V, T)
    total: Tensor  # (A, E), and so are the rest
    delta_sum: Tensor
    delta_max: Tensor
    normalized_delta_sum: Tensor

    def __init__(
        self,
        cases: Sequence[tuple[str, str]],
        deltas: Sequence[float],
        variants: Sequence[Variant],
        topk: Sequence[int] = (1, 5),
        *,
        norm: NormName = DEFAULT,
    ) -> None:
        super().__init__()
        named = {"threats × attacks": cases, "deltas": deltas, "defense variants": variants, "topk": topk}
        for name, values in named.items():
            if not values or len(set(values)) < len(values):
                raise UserError(f"{name} {list(values)} must name at least one thing and nothing twice")
        self.cases, self.deltas, self.variants, self.topk = tuple(cases), tuple(deltas), tuple(variants), tuple(topk)
        self.norm: NormName = norm
        cells = (len(cases), len(deltas))
        self._add_counts("correct", (*cells, len(variants), len(topk)), "sum")
        self._add_counts("total", cells, "sum")
        self._add_counts("delta_sum", cells, "sum")
        self._add_counts("delta_max", cells, "max")
        self._add_counts("normalized_delta_sum", cells, "sum")

    def _add_counts(self, name: str, shape: tuple[int, ...], merge: str) -> None:
        self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx=merge)

    def update(self, hits: Tensor, realized: Tensor, realized_normalized: Tensor) -> None:
        """Count one batch in all cases at all Δ.

        Args:
            hits: ``(A, E, N, V, T)`` bool or integers, from `lit_knn.evaluation.metrics.by_line`.
            realized: ``(A, E, N)`` float, size of each perturbation in pixels.
            realized_normalized: ``(A, E, N)`` float, Δ in the classifier's normalized space.

        Raises:
            ValueError: If a shape does not fit or a perturbation is not finite.
        """
        (a, e, v, t), n = self.correct.shape, realized.shape[-1]
        if hits.shape != (a, e, n, v, t) or not realized.shape == realized_normalized.shape == (a, e, n):
            raise ValueError(
                f"hits {tuple(hits.shape)}, realized {tuple(realized.shape)} and {tuple(realized_normalized.shape)} do "
                f"not fit ({a}, {e}, N, {v}, {t}) and ({a}, {e}, N)"
            )
        finite = (realized.isfinite() & realized_normalized.isfinite()).flatten(1).all(dim=1)  # (A,)
        if not finite.all():
            broken = self.cases[int(finite.int().argmin())]
            raise ValueError(f"an image attacked by {broken} has a perturbation that is not finite")
        pixels, normalized = _fixed_point(realized), _fixed_point(realized_normalized)
        # out of place: under ddp_spawn the default states lie in shared memory
        self.correct = self.correct + hits.sum(dim=2)
        self.total = self.total + hits.shape[2]
        self.delta_sum = self.delta_sum + pixels.sum(dim=2)
        self.delta_max = self.delta_max.maximum(pixels.amax(dim=2))
        self.normalized_delta_sum = self.normalized_delta_sum + normalized.sum(dim=2)

    def compute(self) -> list[Row]:
        """Return the rows of all cells in the order of the record; every process must take part.

        Before a batch is counted there are none.
        """
        times = [variant.trials for variant in self.variants]
        shares = self.correct.cpu() / torch.tensor(times, dtype=torch.float64)[:, None]  # (A, E, V, T)
        low, high = (bound.tolist() for bound in wilson(shares, self.total.cpu()[..., None, None]))
        correct, total = self.correct.tolist(), self.total.tolist()
        rows: list[Row] = []
        for (a, (threat, attack)), (e, delta) in product(enumerate(self.cases), enumerate(self.deltas)):
            n = total[a][e]
            if n == 0:
                continue
            for (v, variant), (t, k) in product(enumerate(self.variants), enumerate(self.topk)):
                rows.append(
                    {
                        "threat": threat,
                        "attack": attack,
                        "norm": self.norm,
                        "delta": delta,
                        "defense": variant.defense,
                        "tap": variant.tap,
                        "k": variant.k,
                        "weighting": variant.weighting,
                        "combination": variant.combination,
                        "rows": variant.rows,
                        "protocol": variant.protocol,
                        "evaluations": variant.evaluations,
                        "keep": variant.keep,
                        "rejected": variant.rejected,
                        "topk": k,
                        "correct": correct[a][e][v][t],
                        "n": n,
                        "accuracy": correct[a][e][v][t] / (n * times[v]),
                        "low": low[a][e][v][t],
                        "high": high[a][e][v][t],
                        "delta_mean": int(self.delta_sum[a, e]) / FIXED_POINT / n,
                        "delta_max": int(self.delta_max[a, e]) / FIXED_POINT,
                        "normalized_delta_mean": int(self.normalized_delta_sum[a, e]) / FIXED_POINT / n,
                    }
                )
        return rows

    def rows(self) -> list[Row]:
        """Merge the processes and return the long-form table, see `compute`."""
        return self.compute()


def _fixed_point(value: Tensor) -> Tensor:
    return (value.float() * FIXED_POINT).round().long()  # exact: a power of two only moves the exponent
