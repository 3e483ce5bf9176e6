"""Where the global generators of random numbers are."""

from __future__ import annotations

import random
from types import TracebackType
from typing import Self

import numpy as np
import torch


class RandomState:
    """The state of every generator from which code draws without naming one: of PyTorch, Python and NumPy.

    A context that gives it back at its end.

    Args:
        device: Whose generator belongs to it, besides that of the CPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._torch, self._python, self._numpy = torch.get_rng_state(), random.getstate(), np.random.get_state()
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.empty(0)

    def restore(self) -> None:
        """Let all of them go on from here."""
        torch.set_rng_state(self._torch)
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._cuda, self._device)

    def same(self, other: RandomState) -> bool:
        """Return whether nothing has been drawn between the two."""
        return (
            torch.equal(self._torch, other._torch)
            and torch.equal(self._cuda, other._cuda)
            and self._python == other._python
            and all(np.array_equal(a, b) for a, b in zip(self._numpy, other._numpy, strict=True))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.restore()
