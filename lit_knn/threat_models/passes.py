"""How often an attack asks a network, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Passes:
    """Count the passes of each of N images.

    A pass is one output of what is attacked, a network or a copy of a defense, however much is computed for it; a
    backward pass is one gradient through such an output.
    """

    def __init__(self, number: int) -> None:
        self._counts = torch.zeros(number, 2, dtype=torch.int64)
        self._rows = torch.arange(number)  # those that are counted

    def through(self, output: Tensor) -> Tensor:
        """Return an output ``(N, ...)``, having counted it; each gradient taken through it will be counted."""
        self.add()
        if output.requires_grad:
            output.register_hook(self._backward)
        return output

    def add(self) -> None:
        """Count one more output."""
        self._counts[self._rows, 0] += 1

    def _backward(self, gradient: Tensor) -> None:
        del gradient
        self._counts[self._rows, 1] += 1

    def among(self, chosen: Tensor) -> Passes:
        """Return what counts for some of the images only, ``(N,)`` bool, among those of all."""
        part = Passes(0)
        part._counts, part._rows = self._counts, self._rows[chosen.cpu()]
        return part

    @contextmanager
    def only(self, chosen: Tensor) -> Iterator[None]:
        """Count for some of the images only, ``(N,)`` bool: for the others nothing comes of it."""
        rows, self._rows = self._rows, self._rows[chosen.cpu()]
        try:
            yield
        finally:
            self._rows = rows

    def take(self) -> Tensor:
        """Return the forward and backward passes since this was last called, ``(N, 2)`` int64 on the CPU."""
        taken = self._counts.clone()
        self._counts.zero_()
        return taken
