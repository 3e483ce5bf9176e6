"""What indexes share that compare the store's own rows on a device."""

from __future__ import annotations

from pathlib import Path

import torch

from lit_knn.database.index.base import Index
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint


class StoreIndex(Index):
    """An index that has no files: nothing is built.

    Args:
        device: Where rows are compared: auto, cpu or cuda.

    Raises:
        UserError: If it is cuda, and there is no GPU.
    """

    def __init__(self, *, device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("index.device is cuda, but PyTorch sees no GPU here: use auto or cpu")
        self.device = device

    @property
    def settings(self) -> Fingerprint:
        """Nothing is built."""
        return {}

    def is_built(self, folder: Path) -> bool:
        """Return yes."""
        del folder
        return True
