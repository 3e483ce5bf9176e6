"""Values that the parser passes over: variables of the environment that set nothing, null and empty paths."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from math import isfinite
from pkgutil import resolve_name
from typing import Any

from lit_knn.data.datamodule import LARGEST_SEED
from lit_knn.errors import UserError
from lit_knn.report.results.published import place


def check_environment(environment: Mapping[str, str], prefix: str, known: Iterable[str]) -> None:
    """Refuse variables that start like those that set keys, but set none.

    Args:
        environment: Of the process.
        prefix: What all of them start with.
        known: Their names.

    Raises:
        UserError: If there is one.
    """
    names = set(known)
    for name in environment:
        if name.startswith(prefix) and name not in names:
            near = ", ".join(difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.7))
            raise UserError(f"the variable {name} of the environment sets no key{near and f'; near it are {near}'}")


def check_configuration(settings: Mapping[str, Any], built: Mapping[str, type]) -> None:
    """Refuse what the parser has accepted and no part will.

    Args:
        settings: The whole configuration, with defaults.
        built: What is built from which of its keys.

    Raises:
        UserError: If there is such a value.
    """
    for name, cls in built.items():
        check_values(settings.get(name) or {}, name, cls)
    place(settings.get("paper"))
    seed = settings.get("seed_everything")
    if isinstance(seed, bool) or not (seed is None or 0 <= seed <= LARGEST_SEED):  # true would be another one each time
        raise UserError(f"seed_everything is {seed}; whole numbers from 0 to {LARGEST_SEED} are accepted")


def check_values(settings: Any, where: str, built: type | None = None) -> None:
    """Refuse values that no part takes and few refuse: they would fail late or not at all.

    These are null where it has no meaning, empty paths, which would mean this folder, numbers that are not finite, and
    negative seeds.

    Args:
        settings: What YAML says of one part of the configuration, with defaults.
        where: Its key.
        built: What is built from it, where ``settings`` does not say so.

    Raises:
        UserError: If there is one.
    """
    if isinstance(settings, list):
        for part in settings:
            check_values(part, where, built)
    if not isinstance(settings, dict):
        return
    if "class_path" in settings:
        built, settings = resolve_name(settings["class_path"]), settings.get("init_args") or {}
    parameters = inspect.signature(built).parameters if built is not None else {}
    for name, value in settings.items():
        parameter = parameters.get(name)
        if value is None and parameter is not None and parameter.default is not None:
            kind = parameter.annotation
            if kind is not parameter.empty and "None" not in str(kind) and "Any" not in str(kind):
                raise UserError(f"{where}.{name} is null; {getattr(kind, '__name__', kind)} is accepted")
        if value == "" and parameter is not None and "Path" in str(parameter.annotation):
            raise UserError(f"{where}.{name} is empty; the path of a file or folder is accepted")
        if isinstance(value, float) and not isfinite(value):
            raise UserError(f"{where}.{name} is {value}; a finite number is accepted")
        if name.endswith("seed") and isinstance(value, int) and value < 0:
            raise UserError(f"{where}.{name} is {value}; whole numbers from 0 are accepted")
        check_values(value, f"{where}.{name}", None if parameter is None else _part_of(built, parameter.annotation))


def _part_of(built: type | None, kind: Any) -> type | None:
    """Return the class of the part, or of those of a list, that something is built with, if its annotation names it."""
    match = re.fullmatch(r"(?:list\[)?(\w+)\]?(?: \| None)?", str(kind))
    found = getattr(import_module(built.__module__), match[1], None) if match and built is not None else None
    return found if isinstance(found, type) else None
