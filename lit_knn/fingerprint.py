"""What data was made from, as names and values that must be equal before two pieces of it are used together."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from lit_knn.errors import UserError

Fingerprint = dict[str, str]


def describe(part: Any) -> Any:
    """Return what a part was built with, as JSON: its class and public attributes, and those of its own parts.

    Raises:
        UserError: For a function, which nothing tells from another of the same name.
    """
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    if isinstance(part, Path):
        return str(part)
    if isinstance(part, dict):
        return {str(key): describe(value) for key, value in part.items()}
    if isinstance(part, set):
        return sorted((describe(value) for value in part), key=str)
    if isinstance(part, (list, tuple)):
        return [describe(value) for value in part]
    if isinstance(part, (Tensor, np.ndarray)):
        array = part.detach().cpu().numpy() if isinstance(part, Tensor) else part
        return f"{array.dtype}{array.shape}-{hashlib.sha256(array.tobytes()).hexdigest()[:16]}"
    if inspect.isroutine(part):
        raise UserError(f"{part} cannot be told from another function: make it a class with arguments")
    public = {name: describe(value) for name, value in vars(part).items() if not name.startswith("_")}
    if isinstance(part, nn.Module):
        public["weights"] = describe(dict(part.state_dict()))
    return {"class": f"{type(part).__module__}.{type(part).__qualname__}", **public}


def fingerprint_difference(expected: Fingerprint, found: Fingerprint) -> str:
    """Name each entry in which two fingerprints differ, with both values; "" if they are equal.

    Example:
        >>> fingerprint_difference({"tap": "a", "data": "x"}, {"tap": "b", "data": "x"})
        "tap is 'b' where 'a' is expected"
    """
    return ", ".join(
        f"{name} is {found.get(name, 'absent')!r} where {expected.get(name, 'absent')!r} is expected"
        for name in sorted({*expected, *found})
        if expected.get(name) != found.get(name)
    )
