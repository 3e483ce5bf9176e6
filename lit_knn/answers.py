"""What the defenses answer to attacked images, and what becomes of each query by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lit_knn.cache import Attacked
from lit_knn.defenses import Defense
from lit_knn.metrics import hits
from lit_knn.outcomes import Outcome


def answers(
    looks: Iterable[Attacked], label: Tensor, defenses: Sequence[Defense], *, topk: Sequence[int], sizes: int
) -> Outcome:
    """Let every defense answer.

    Args:
        looks: N queries as the defenses meet them: clean, and then in A cases, at every size of perturbation in each.
        label: ``(N,)`` int64.
        defenses: Their variants, one after another, are the V of the outcome.
        topk: T numbers; an answer is right if the true class is among so many of the largest scores.
        sizes: How many sizes of perturbation there are besides 0; E − 1.
    """

    def answer(look: Attacked) -> tuple[Tensor, Tensor, Tensor]:
        scores = torch.cat([defense(look.query) for defense in defenses])  # (V, N, C)
        return hits(scores, label, topk), look.realised, look.realised_normalized

    clean, *attacked = map(answer, looks)
    cases = [
        [torch.stack(parts) for parts in zip(clean, *attacked[start : start + sizes], strict=True)]  # (E, N, ...)
        for start in range(0, len(attacked), sizes)
    ]
    return Outcome(*(torch.stack(parts) for parts in zip(*cases, strict=True)))  # (A, E, N, ...)
