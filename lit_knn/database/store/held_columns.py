"""Columns of a store on a GPU, for votes within a loop: what is known of a neighbor is a few bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lit_knn.database.store.reader import Store

HOLDING = ("cuda",)  # kinds of devices that hold columns: a CPU has them mapped
SHARE = 8  # of the device's memory, at most


class HeldColumns:
    """Columns on each device that asks for rows of them, copied when it first does, as long as there is room.

    Args:
        store: Whose.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[tuple[str, torch.device], Tensor | None] = {}

    def rows(self, name: str, ids: Tensor) -> Tensor | None:
        """Return bytes ``(..., B)`` uint8 of rows ``(...)`` of a column; None if it is not held where ``ids`` lie.

        Raises:
            UserError: If the store does not have the column.
        """
        key = name, ids.device
        if key not in self._held:
            self._held[key] = self._column(*key)
        column = self._held[key]
        return None if column is None else column.index_select(0, ids.flatten()).view(*ids.shape, column.shape[1])

    def _column(self, name: str, device: torch.device) -> Tensor | None:
        taken = sum(part.nbytes for (_, place), part in self._held.items() if part is not None and place == device)
        width = self._store.width(name)
        if device.type not in HOLDING or taken + len(self._store) * width > room(device):
            return None
        column = torch.empty(len(self._store), width, dtype=torch.uint8, device=device)
        for first, block in self._store.raw_blocks(name):
            column[first : first + len(block)] = torch.from_numpy(block)
        return column


def room(device: torch.device) -> int:
    """Return how many bytes columns may take on a GPU."""
    return torch.cuda.get_device_properties(device).total_memory // SHARE
