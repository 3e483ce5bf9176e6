"""What the attacks cost, in passes of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lit_knn.evaluation.metrics.sums import Sums

if TYPE_CHECKING:  # names only, as for the accuracy
    from lit_knn.report.results import Passes


class NetworkPasses(Sums):
    """In each case and at each Δ, how often all queries together passed what was attacked, forward and backward.

    Args:
        cases: Names (threat, attack), A of them.
        deltas: Sizes of perturbation, E of them, 0 included.
    """

    def __init__(self, cases: Sequence[tuple[str, str]], deltas: Sequence[float]) -> None:
        super().__init__(len(cases), len(deltas), 2)
        self._cases, self._deltas = tuple(cases), tuple(deltas)

    def update(self, passes: Tensor) -> None:
        """Count a batch, ``(A, E, N, 2)`` int64."""
        self.add(passes.sum(dim=2))

    def rows(self) -> list[Passes]:
        """Return a row of the record for each case and each Δ above 0; every process must take part."""
        return [
            {"threat": threat, "attack": attack, "delta": delta, "forward": forward, "backward": backward}
            for (threat, attack), sizes in zip(self._cases, self.compute().tolist(), strict=True)
            for delta, (forward, backward) in zip(self._deltas, sizes, strict=True)
            if delta
        ]
