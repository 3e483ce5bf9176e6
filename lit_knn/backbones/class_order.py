"""The classes of the labels among those of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lit_knn.errors import UserError


class ClassOrder:
    """Bring a network's logits into the order of the labels.

    Args:
        classes: Of each of C classes, which of the network's it is; None for one that the network does not know, whose
            logit is 1 below the smallest, so that it is never named. By default all are the network's own.

    Raises:
        UserError: For fewer than two classes, a negative one, or one that is named twice.
    """

    def __init__(self, classes: Sequence[int | None] | None) -> None:
        known = [one for one in classes or [] if one is not None]
        if classes is not None and (len(known) < 2 or min(known) < 0 or len(set(known)) < len(known)):
            raise UserError(
                f"classes is {list(classes)[:8]}: a list of different numbers from 0 is accepted, at least two, with "
                "null for a class that the network does not know"
            )
        self._classes = None if classes is None else list(classes)
        self._highest = max(known, default=0)
        self._order: dict[torch.device, Tensor] = {}

    def __call__(self, logits: Tensor) -> Tensor:
        """Return logits ``(N, C)`` of the labels' classes, of those ``(N, C')`` of the network's; float."""
        if self._classes is None:
            return logits
        if logits.device not in self._order:
            order = [logits.shape[1] if one is None else one for one in self._classes]
            with torch.inference_mode(False):  # it is kept, and gradients go through it later
                self._order[logits.device] = torch.tensor(order, device=logits.device)
        below = logits.amin(dim=1, keepdim=True) - 1
        return torch.cat([logits, below], dim=1).index_select(1, self._order[logits.device])

    def number(self, own: int, name: str) -> int:
        """Return C for a network of so many classes of its own.

        Args:
            own: C'.
            name: What messages call the network.

        Raises:
            UserError: If a class is none of them.
        """
        if self._classes is None:
            return own
        if self._highest >= own:
            raise UserError(f"network {name} has classes 0 to {own - 1}, but its `classes` name {self._highest}")
        return len(self._classes)

    def __str__(self) -> str:
        """Return what decides what it does; nothing where it does nothing."""
        return "" if self._classes is None else f" classes {self._classes}"
