"""What the defenses answer, and what becomes of each query by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor

from lit_knn.defenses import most_needed
from lit_knn.evaluation.metrics import hits
from lit_knn.evaluation.observation import Observation
from lit_knn.evaluation.overlap import in_database
from lit_knn.evaluation.sample_results import SampleResults
from lit_knn.evaluation.scorers import Scorer


def score(
    observations: Iterable[Observation],
    label: Tensor,
    scorers: Sequence[Scorer],
    *,
    topk: Sequence[int],
    sizes: int,
) -> SampleResults:
    """Let every defense answer, from as many databases as it is given.

    Args:
        observations: Of N queries: clean, and then in A cases, at every size of perturbation in each.
        label: ``(N,)`` int64.
        scorers: Who answers; their variants are the V of the results.
        topk: T numbers; an answer is right if the true class is among so many of the largest scores.
        sizes: How many sizes of perturbation there are besides 0; E − 1.
    """

    def answer(observation: Observation) -> tuple[Tensor, ...]:
        query, kept, realized, normalized, flat = observation
        scores = [kept[scorer.column] if scorer.column else scorer(query) for scorer in scorers]
        return hits(torch.cat(scores), label, topk), realized.float(), normalized.float(), flat

    observations = iter(observations)
    query = (first := next(observations)).query
    clean, *attacked = map(answer, chain([first], observations))
    cases = [
        [torch.stack(parts) for parts in zip(clean, *attacked[start : start + sizes], strict=True)]  # (E, N, ...)
        for start in range(0, len(attacked), sizes)
    ]
    found, realized, normalized, flat = (torch.stack(parts) for parts in zip(*cases, strict=True))  # (A, E, N, ...)
    needed = most_needed(scorer.defense for scorer in scorers)
    stored = in_database(query, needed) if needed else torch.zeros_like(label, dtype=torch.bool)
    return SampleResults(found, realized, normalized, hits(query.logits[None], label, [1])[:, 0, 0], stored, flat)
