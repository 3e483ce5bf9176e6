"""Images and labels that are at hand, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.data import Arrays
from lit_knn.data.pixels import FLOATS
from lit_knn.errors import UserError, first_line

Held = Tensor | NDArray[Any]
Labels = Held | Sequence[int]
ACCEPTED = "a tensor or NumPy array (N, 3, H, W) or (N, H, W, 3), uint8 or float in [0, 1], is accepted"
INTEGERS = "integers (N,), in a tensor, NumPy array or list, are accepted"
PIXELS = (np.uint8, *FLOATS)


def held_images(images: Held, labels: Labels | None, name: str, *, attacked: bool = False) -> Arrays:
    """Return a source of images at hand; nothing is copied that lies in the memory of the CPU.

    Args:
        images: ``(N, 3, H, W)`` or ``(N, H, W, 3)``, uint8 or float in [0, 1]. Of a tensor that may be both, the
            second dimension is taken for the channels.
        labels: ``(N,)`` integers from 0; None or −1 where they are not known.
        name: What messages call the images.
        attacked: Whether each needs a label.

    Raises:
        UserError: If images or labels are of another type, shape or dtype, pixels out of range, or a label is missing.
    """
    array = _array(images, name, ACCEPTED)
    if array.dtype not in PIXELS:
        raise UserError(f"{name} are {array.dtype} {array.shape}: {ACCEPTED}")
    if array.ndim == 4 and 3 not in (array.shape[1], array.shape[3]) and 1 in (array.shape[1], array.shape[3]):
        raise UserError(f"{name} have one channel, {array.shape}: networks are given RGB, so repeat it three times")
    if array.dtype != np.uint8 and array.size and not (array.min() >= 0 and array.max() <= 1):  # NaN is in neither
        raise UserError(
            f"{name} reach from {array.min():.4g} to {array.max():.4g}: pixels are accepted as uint8 or as floats in "
            "[0, 1], not normalized: give the network's mean and std as arguments instead"
        )
    both = array.ndim == 4 and array.shape[1] == array.shape[3] == 3
    if isinstance(labels, list | tuple) and all(isinstance(label, int) for label in labels):
        labels = np.array(labels)
    known = None if labels is None else _array(labels, f"labels of {name}", INTEGERS)
    source = Arrays.of(array, known, layout="NCHW" if both and isinstance(images, Tensor) else None, name=name)
    source.open_shard(0)  # which holds shapes, dtypes and labels to each other
    if attacked and (known is None or (known < 0).any()):
        lacking = "None" if known is None else f"-1, unknown, for {(known < 0).sum():,} of {len(known):,}"
        raise UserError(f"labels of {name} are {lacking}: images that are attacked need one each")
    return source


def _array(given: object, name: str, accepted: str) -> NDArray[Any]:
    if isinstance(given, Tensor):
        try:
            given = given.detach().cpu()
            return (given.float() if given.dtype == torch.bfloat16 else given).numpy()
        except (RuntimeError, TypeError) as error:  # sparse, quantized or without values
            raise UserError(f"{name} cannot be read, {first_line(error)}: {accepted}") from error
    if isinstance(given, np.ndarray):
        return given
    raise UserError(f"{name} are of type {type(given).__name__}: {accepted}")
