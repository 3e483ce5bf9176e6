"""How configurations that a run writes name classes: as people do, and as stays right where a module moves."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

from lit_knn.storage.kinds import is_ours, named_kind


def with_kinds(config: Any, ambiguous: Container[str] = ()) -> Any:
    """Return a configuration in which classes of this package go by their kind, which `--config` reads as well.

    Args:
        config: As the parser dumps it, with import paths.
        ambiguous: Kinds that another class has as its name, so that the parser could not tell them apart.
    """
    if isinstance(config, list):
        return [with_kinds(part, ambiguous) for part in config]
    if not isinstance(config, dict):
        return config
    config = {name: with_kinds(part, ambiguous) for name, part in config.items()}
    path = config.get("class_path")
    if isinstance(path, str) and named_kind(path) not in ambiguous:
        config["class_path"] = named_kind(path)
    return config


def derived(contract: type) -> Iterator[type]:
    """Yield all classes that derive from one, as far as their modules are imported."""
    parts: list[type] = contract.__subclasses__()
    for part in parts:
        yield part
        yield from derived(part)


def foreign_names(contracts: Iterable[type]) -> set[str]:
    """Return the names, without modules, of classes of others that keep a contract."""
    classes = {part for contract in contracts for part in derived(contract)}
    return {part.__name__ for part in classes if not is_ours(part)}
