"""What several evaluations of each query are taken for: mean, worst and majority."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # names only, as for the accuracy
    from lit_knn.report.results import Variant


def answers_of(lines: Sequence[Variant]) -> list[Variant]:
    """Return what is evaluated, V variants in their order, where each fills one line of the results or several."""
    return list(dict.fromkeys(line.answer for line in lines))


def trials(lines: Sequence[Variant]) -> list[int]:
    """Return the largest number that a query adds to each line: its evaluations in a mean, and else 1."""
    return [int(line.evaluations) if line.protocol == "mean" else 1 for line in lines]


def by_line(right: Tensor, lines: Sequence[Variant]) -> Tensor:
    """Return what each line counts of each query.

    A ``mean`` counts the evaluations that are right, ``worst`` a query all of whose evaluations are, and ``majority``
    one with more than half of them: then no wrong class can have as many votes, so that a vote of the evaluations is
    right as well. All three fall with the number of right evaluations, so that whatever leaves fewest of them is the
    worst for each line.

    Args:
        right: ``(..., V, T)`` integers: in how many of its evaluations is an answer right?
        lines: L of them, those of one answer beside each other, in the order of the answers.

    Returns:
        ``(..., L, T)`` integers of the same type, from 0 to :func:`trials`.
    """
    answers = answers_of(lines)
    places = torch.tensor([answers.index(line.answer) for line in lines], device=right.device)
    enough = torch.tensor([_enough(line) for line in lines], device=right.device)[:, None]  # (L, 1)
    found = right.index_select(-2, places)
    return torch.where(enough == 0, found, (found >= enough).to(found.dtype))


def _enough(line: Variant) -> int:
    """Return how many right evaluations are one right answer, 0 where each of them counts."""
    times = int(line.evaluations or 1)
    return {"worst": times, "majority": times // 2 + 1}.get(line.protocol, 0)
