"""How sure a row's prediction is, from its softmax alone: the weights that a store keeps of each row.

They depend on no query and no distance, so that each is computed once, from the float32 softmax, when its row is
written.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lit_knn.database.store.softmax import LISTED

STORED_WEIGHTS = ("cbw_e", "cbw_d")
"""Names of the columns of weights that every store holds."""


def entropy_gap(softmax: Tensor) -> Tensor:
    """Return CBW-E, ``|log C + Σ_c s_c log s_c|``, in nats; ``0 · log 0`` is 0.

    Args:
        softmax: ``(..., C)`` float in [0, 1], summing to 1.

    Returns:
        ``(...)`` float in [0, log C].

    References:
        Dubey et al. 2019, Section 4, CBW-E.
    """
    classes = softmax.new_tensor(float(softmax.shape[-1]))
    return (classes.log() + torch.xlogy(softmax, softmax).sum(dim=-1)).abs()


def top_gap(ranked: Tensor, m: int, p: float) -> Tensor:
    """Return CBW-D, ``Σ_{i=2}^{M+1} (ŝ_1 − ŝ_i)^P``.

    Args:
        ranked: ``(..., R)`` float in [0, 1]: the largest entries of a softmax in falling order. All of them are used
            where there are fewer than M + 1.
        m: How many runners-up are compared with the winner.
        p: Exponent.

    Returns:
        ``(...)`` float in [0, M].

    References:
        Dubey et al. 2019, Section 4, CBW-D (M = 20, P = 3).
    """
    return (ranked[..., :1] - ranked[..., 1 : m + 1]).pow(p).sum(dim=-1)


def stored_weights(softmax: Tensor) -> dict[str, Tensor]:
    """Return the columns that every store holds.

    Args:
        softmax: ``(n, C)`` float32.

    Returns:
        Those of `STORED_WEIGHTS`, each ``(n,)``, with the paper's M = 20 and P = 3.
    """
    ranked = softmax.topk(min(LISTED, softmax.shape[-1]), dim=-1).values
    return dict(zip(STORED_WEIGHTS, (entropy_gap(softmax), top_gap(ranked, m=20, p=3.0)), strict=True))
