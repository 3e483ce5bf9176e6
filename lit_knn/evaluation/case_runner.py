"""Runs the cases of an evaluation on batches: attacked, and shown to the classifier, or read where that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lit_knn.attacks import Attempt
from lit_knn.evaluation.cache import BatchKey, CachedCase
from lit_knn.evaluation.observation import Observation, Observer
from lit_knn.evaluation.provenance import CLEAN

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation


class CaseRunner:
    """The cases of an evaluation.

    Args:
        evaluation: Whose cases, and at which Δ.
        observer: Shows images to the classifier.
        cached: What is known of each case, by names of threat and attack, and of the clean images.
        tell: Told what is attacked next.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        observer: Observer,
        cached: Mapping[tuple[str, str], CachedCase],
        tell: Callable[[str], object],
    ) -> None:
        self._evaluation, self._observer, self._cached, self._tell = evaluation, observer, cached, tell

    def everything(self, batch: BatchKey, image: Tensor, label: Tensor) -> Iterator[Observation]:
        """Yield what is known of N queries ``(N, 3, H, W)``: clean, and then attacked in every case at every Δ > 0."""
        yield from self.clean(batch, image)
        for case in range(len(self._evaluation.cases)):
            yield from self.attacked(case, batch, image, label, self._evaluation.deltas[1:])

    def clean(self, batch: BatchKey, image: Tensor) -> Iterator[Observation]:
        """Yield what is known of N queries ``(N, 3, H, W)`` that nobody attacks."""
        return self._observer.observe(self._cached[CLEAN], batch, image, [0.0], partial(_leave, image))

    def attacked(
        self, case: int, batch: BatchKey, image: Tensor, label: Tensor, deltas: Sequence[float]
    ) -> Iterator[Observation]:
        """Yield what is known of N queries ``(N, 3, H, W)`` attacked in a case, given by its position, at each Δ."""
        threat, attack = self._evaluation.cases[case]
        self._tell(f"{threat.name}: {attack.name}")
        run = partial(self._evaluation.attacked, threat, attack, image, label, batch.ids)
        return self._observer.observe(self._cached[threat.name, attack.name], batch, image, deltas, run)


def _leave(image: Tensor, deltas: Sequence[float]) -> Iterator[Attempt]:
    """Leave images ``(N, 3, H, W)`` as they are, as if that were an attack."""
    nothing = torch.zeros(len(image), 2, dtype=torch.int64, device=image.device)
    return (Attempt(image, nothing[:, 0].bool(), nothing) for _ in deltas)
