"""What the defenses answer to attacked images, and what becomes of each query by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from torch import Tensor

from lit_knn.database import Gallery
from lit_knn.defenses import Defense, Variant, most_needed
from lit_knn.evaluation.cache import Attacked
from lit_knn.evaluation.metrics import hits
from lit_knn.evaluation.overlap import in_database
from lit_knn.evaluation.sample_results import Outcome


def variants(defenses: Sequence[Defense], views: Sequence[Gallery]) -> list[Variant]:
    """Return the lines of the results: those of each defense, of a retrieval once for each of several databases.

    Args:
        defenses: What answers.
        views: The databases, which the lines tell by their rows.
    """
    return [
        variant if view is None else variant._replace(rows=len(view))
        for defense, view in _pairs(defenses, views)
        for variant in defense.variants
    ]


def answers(
    looks: Iterable[Attacked],
    label: Tensor,
    defenses: Sequence[Defense],
    views: Sequence[Gallery],
    *,
    topk: Sequence[int],
    sizes: int,
) -> Outcome:
    """Let every defense answer.

    Args:
        looks: N queries as the defenses meet them: clean, and then in A cases, at every size of perturbation in each.
        label: ``(N,)`` int64.
        defenses: What answers.
        views: The databases that retrievals answer from; `variants` are the V of the outcome.
        topk: T numbers; an answer is right if the true class is among so many of the largest scores.
        sizes: How many sizes of perturbation there are besides 0; E − 1.
    """
    pairs = _pairs(defenses, views)

    def answer(look: Attacked) -> tuple[Tensor, ...]:
        scores = [defense(look.query if view is None else look.query.of(view)) for defense, view in pairs]
        return hits(torch.cat(scores), label, topk), look.realized.float(), look.realized_normalized.float(), look.flat

    looks = iter(looks)
    query = (first := next(looks)).query
    clean, *attacked = map(answer, chain([first], looks))
    cases = [
        [torch.stack(parts) for parts in zip(clean, *attacked[start : start + sizes], strict=True)]  # (E, N, ...)
        for start in range(0, len(attacked), sizes)
    ]
    found, realized, normalized, flat = (torch.stack(parts) for parts in zip(*cases, strict=True))  # (A, E, N, ...)
    needed = most_needed(defenses)
    stored = in_database(query, needed) if needed else torch.zeros_like(label, dtype=torch.bool)
    return Outcome(found, realized, normalized, hits(query.logits[None], label, [1])[:, 0, 0], stored, flat)


def _pairs(defenses: Sequence[Defense], views: Sequence[Gallery]) -> list[tuple[Defense, Gallery | None]]:
    """Return each defense with each database that it is to answer from."""
    return [(defense, view) for defense in defenses for view in (views if defense.needed else [None])]
