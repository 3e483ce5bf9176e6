"""The settings of an evaluation of objects, as the configuration of a run would say them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lit_knn.backbones import Classifier, Tap
from lit_knn.storage.kinds import kind


def settings(part: object) -> Any:
    """Return what a configuration would say of a part: its class, and those arguments that it keeps under their names.

    Networks, images and whatever else lies in memory are told by what they are called: such a configuration tells runs
    apart, and only that which names no object in memory could be read back.
    """
    if isinstance(part, np.generic):
        part = part.item()
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Path):
        return str(part)
    if isinstance(part, Tap):
        return asdict(part)
    if isinstance(part, Mapping):
        return {str(name): settings(value) for name, value in part.items()}
    if isinstance(part, Sequence):
        return [settings(value) for value in part]
    if isinstance(part, Classifier):
        mean, std = ([round(float(one), 6) for one in value.flatten()] for value in (part.mean, part.std))
        return {"network": f"{part.name} in memory", "mean": mean, "std": std}
    names = inspect.signature(type(part)).parameters
    arguments = {name: settings(getattr(part, name)) for name in names if hasattr(part, name)}
    return {"class_path": kind(type(part)), **({"init_args": arguments} if arguments else {})}
