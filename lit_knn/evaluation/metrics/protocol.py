"""What several evaluations of each query are taken for: mean, worst and majority."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_knn.report.results import Variant, answers_of


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
        ``(..., L, T)`` integers of the same type, from 0 to the ``trials`` of each line.
    """
    answers = answers_of(lines)
    places = torch.tensor([answers.index(line.answer) for line in lines], device=right.device)
    enough = torch.tensor([line.enough for line in lines], device=right.device)[:, None]  # (L, 1)
    found = right.index_select(-2, places)
    return torch.where(enough == 0, found, (found >= enough).to(found.dtype))
