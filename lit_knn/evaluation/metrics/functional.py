"""From class scores to hits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_knn.errors import UserError


def hits(scores: Tensor, label: Tensor, topk: Sequence[int] = (1, 5), whose: str = "") -> Tensor:
    """Tell whether the true class is among the k best, ties going to the lower class.

    ``topk`` and ``argmax`` break ties as the device likes; hard votes tie often, so the rank is counted instead.

    Args:
        scores: ``(V, N, C)`` float, one layer per defense variant; any scale, infinities allowed. Of an image that is
            not answered all are ∞ or all are −∞: then it counts as right, or wrong, whatever its label.
        label: ``(N,)`` int64 in ``[0, C)``.
        topk: Values of k in ``[1, C − 1]``; the caller drops larger ones, which would always hit.
        whose: Who gave the scores, for messages.

    Returns:
        ``(N, V, T)`` bool.

    Raises:
        UserError: If a k or a label is out of range, or a score is NaN.

    Example:
        >>> hits(torch.tensor([[[0.2, 0.4, 0.4]]]), torch.tensor([2]), topk=(1, 2))
        tensor([[[False,  True]]])
    """
    classes = scores.shape[-1]
    if not all(1 <= k < classes for k in topk):
        raise UserError(f"topk {list(topk)} of {classes} classes: values from 1 to {classes - 1} are accepted")
    if bool(((label < 0) | (label >= classes)).any()):
        raise UserError(f"a query has label {_first_outside(label, classes)}; scores have classes 0 to {classes - 1}")
    if bool(scores.isnan().any()):
        who = f"class scores of {whose}" if whose else "class scores"
        raise UserError(f"{who} contain NaN: the network or its weights produce values that are not numbers")
    truth = scores.gather(-1, label.expand(len(scores), -1).unsqueeze(-1))  # (V, N, 1)
    lower = torch.arange(classes, device=scores.device) < label.unsqueeze(-1)  # (N, C)
    rank = ((scores > truth) | ((scores == truth) & lower)).sum(-1)  # (V, N)
    least, most = scores.amin(-1), scores.amax(-1)  # (V, N)
    rank = rank.masked_fill(least == torch.inf, 0).masked_fill(most == -torch.inf, classes)
    return rank.T.unsqueeze(-1) < torch.tensor(list(topk), device=scores.device)  # (N, V, T)


def _first_outside(label: Tensor, classes: int) -> int:
    return int(label[(label < 0) | (label >= classes)][0])
