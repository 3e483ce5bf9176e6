"""What a search returns, and how the answers of several searches become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Neighbors(NamedTuple):
    """The K nearest rows of N queries, nearest first; of equally near ones the lower id goes first.

    Both lie where the queries do.

    Attributes:
        ids: ``(N, K)`` int64, rows of the store; −1 where a share of them has fewer than K.
        distances: ``(N, K)`` float32, Euclidean, in units of the features, infinite beside −1. Those of an exact search
            are correctly rounded; of any other they are approximate, and near 0 a copy may be 1e-3 of its length away.
    """

    ids: Tensor
    distances: Tensor

    @classmethod
    def none(cls, queries: int, k: int, device: torch.device | str = "cpu") -> Neighbors:
        """Return what ``queries`` know before any row has been compared: −1 and infinity, ``(queries, k)``."""
        distances = torch.full((queries, k), torch.inf, dtype=torch.float32, device=device)
        return cls(torch.full((queries, k), -1, device=device), distances)

    def to(self, device: torch.device | str) -> Neighbors:
        """Return them on a device; themselves if they are there."""
        return Neighbors(self.ids.to(device), self.distances.to(device))


def nearest(found: Sequence[Neighbors], k: int) -> Neighbors:
    """Merge what the same queries ``(..., K)`` found in different rows; the lower id goes first of equally near ones.

    So neither the order of ``found`` nor how the rows were shared out matters.
    """
    ids, distances = (torch.cat(parts, dim=-1) for parts in zip(*found, strict=True))
    by_id = ids.argsort(dim=-1)
    order = distances.gather(-1, by_id).sort(dim=-1, stable=True).indices[..., :k]
    order = by_id.gather(-1, order)
    return Neighbors(ids.gather(-1, order), distances.gather(-1, order))
