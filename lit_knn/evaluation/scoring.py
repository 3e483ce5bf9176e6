"""What the defenses answer, and what becomes of each query by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.defenses import most_needed
from lit_knn.evaluation.metrics import hits
from lit_knn.evaluation.observation import Observation
from lit_knn.evaluation.overlap import in_database
from lit_knn.evaluation.sample_results import SampleResults
from lit_knn.evaluation.scorers import Scorer


class Answers(NamedTuple):
    """What N images, clean or attacked at one Δ, are taken for.

    Attributes:
        hits: ``(N, V, T)`` int16: in how many evaluations has defense variant v the true class among its top k?
        realized: ``(N,)`` float32, Δ in pixels.
        realized_normalized: ``(N,)`` float32, Δ in the classifier's normalized space.
        flat: ``(N,)`` bool: was the gradient zero wherever the attack looked?
        passes: ``(N, 2)`` int64: how often did the image pass what was attacked, forward and backward?
    """

    hits: Tensor
    realized: Tensor
    realized_normalized: Tensor
    flat: Tensor
    passes: Tensor


def answers(observation: Observation, label: Tensor, scorers: Sequence[Scorer], topk: Sequence[int]) -> Answers:
    """Let every defense answer, from as many databases as it is given.

    Args:
        observation: Of N queries.
        label: ``(N,)`` int64.
        scorers: Who answers; their variants are the V of the results.
        topk: T numbers; an answer is right if the true class is among so many of the largest scores.
    """
    query, kept, realized, normalized, *told = observation

    def right(scorer: Scorer) -> Tensor:
        found = [kept[name] for name in scorer.columns] or map(partial(scorer, query), range(scorer.evaluations))
        each = [hits(scores, label, topk, scorer.defense.variants[0].defense) for scores in found]
        return torch.stack(each).sum(dim=0, dtype=torch.int16)  # (N, V, T)

    return Answers(torch.cat([*map(right, scorers)], dim=1), realized.float(), normalized.float(), *told)


def score(
    observations: Iterable[Observation],
    label: Tensor,
    scorers: Sequence[Scorer],
    *,
    topk: Sequence[int],
    sizes: int,
) -> SampleResults:
    """Return what becomes of N queries.

    Args:
        observations: Of them: clean, and then in A cases, at every size of perturbation in each; of clean ones alone, A
            is 1.
        label: As of `answers`.
        scorers: As of `answers`.
        topk: As of `answers`.
        sizes: How many sizes of perturbation there are besides 0; E − 1.
    """
    observations = iter(observations)
    query = (first := next(observations)).query
    clean, *attacked = (answers(found, label, scorers, topk) for found in chain([first], observations))
    cases = [
        [torch.stack(parts) for parts in zip(clean, *attacked[start : start + sizes], strict=True)]  # (E, N, ...)
        for start in range(0, max(1, len(attacked)), max(1, sizes))
    ]
    found, realized, normalized, *told = (torch.stack(parts) for parts in zip(*cases, strict=True))  # (A, E, N, ...)
    needed = most_needed(scorer.defense for scorer in scorers)
    stored = in_database(query, needed) if needed else torch.zeros_like(label, dtype=torch.bool)
    return SampleResults(found, realized, normalized, hits(query.logits[None], label, [1])[:, 0, 0], stored, *told)
