"""Mean and std that a file of weights carries beside them, as robust models do whose normalization is a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

NAMES = {"std": ("mean", "mu"), "sigma": ("mu", "mean"), "new_std": ("new_mean",), "image_std": ("image_mean",)}
MEANS = {mean for means in NAMES.values() for mean in means}


class Normalization(NamedTuple):
    """Mean and std per channel, in pixels of [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def carried(tensors: Mapping[str, Tensor]) -> Normalization | None:
    """Return mean and std among tensors, three values each; None if there are none, or several that differ.

    Args:
        tensors: By names such as ``normalize.mean`` and ``normalize.std``, or ``mu`` and ``sigma``.
    """
    found = set()
    for name, tensor in tensors.items():
        place, _, last = name.rpartition(".")
        for mean in NAMES.get(last, ()):
            other = tensors.get(f"{place}.{mean}".lstrip("."))
            if other is not None and other.numel() == tensor.numel() == 3:
                pair = Normalization(*(tuple(part.flatten().double().tolist()) for part in (other, tensor)))
                if 0 <= min(pair.mean) <= max(pair.mean) <= 1 and 0 < min(pair.std) <= max(pair.std) <= 1:
                    found.add(pair)
    return found.pop() if len(found) == 1 else None


def is_normalization(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor is called, and shaped, as one of the two."""
    return name.rpartition(".")[2] in {*NAMES, *MEANS} and tensor.numel() == 3
