"""How the runs of a report differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from lit_knn.report.results.record import Record, mapping
from lit_knn.report.results.threats import NAMES
from lit_knn.storage.kinds import named_kind

Value = str | int | float
LONGEST = 240  # characters of a setting in a table
DECISIVE = ("model", "data", "seed_everything", "trainer.precision", "trainer.limit_test_batches")
# decide how fast a run is, and nothing else
INDIFFERENT = ("model.cache", "model.database.build_missing", "data.batch_size", "data.num_workers")


def settings(record: Record) -> dict[str, Value]:
    """Return the leaves of a configuration by dotted key, those that decide a number; null as "".

    A list of parts is a leaf, the names of the parts, and has their own leaves below: ``model.attacks.0.steps``.
    """
    return {
        key: value for key, value in _leaves(record.config) if _under(key, DECISIVE) and not _under(key, INDIFFERENT)
    }


def surroundings(record: Record) -> dict[str, Value]:
    """Return what decides a number besides the configuration, and where it was computed, by dotted key.

    Hashes and names of what the run depended on, such as weights that another file of the same name has, devices,
    revision, versions of packages, and how many rows the defenses searched.
    """
    trainer, data = mapping(record.config.get("trainer")), mapping(record.config.get("data"))
    parts = {f"trainer.{key}": trainer.get(key) for key in ("accelerator", "devices", "num_nodes")}
    parts |= {"data.batch_size": data.get("batch_size"), "git": record.git}
    return {
        **{key: value for name, part in parts.items() for key, value in _leaves(part, name)},
        "database rows searched": ", ".join(map(str, database_sizes(record))),
        **{f"fingerprints.{key}": value for key, value in record.fingerprints.items() if isinstance(value, str)},
        **{f"versions.{key}": value for key, value in record.versions.items()},
    }


def differing(
    records: Sequence[Record], told: Callable[[Record], dict[str, Value]] = settings
) -> list[dict[str, Value]]:
    """Return, for each record, the settings that are not the same in all, in the order of the configuration.

    What lies below a list of other parts is left out.

    Args:
        records: Of the runs.
        told: What is compared of a record.
    """
    all_settings = [told(record) for record in records]
    keys = dict.fromkeys(key for part in all_settings for key in part)
    differ: list[str] = []
    for key in keys:
        values = [part.get(key, "") for part in all_settings]
        if any((type(value), value) != (type(values[0]), values[0]) for value in values) and not _under(key, differ):
            differ.append(key)
    return [{key: part.get(key, "") for key in differ} for part in all_settings]


def database_sizes(record: Record) -> list[int]:
    """Return how many rows the defenses searched: one number, several in a sweep, none without retrieval."""
    return sorted({row["rows"] for row in record.results if isinstance(row["rows"], int)})


def _leaves(config: Any, name: str = "") -> list[tuple[str, Value]]:
    if isinstance(config, dict):
        return [leaf for key, inner in config.items() for leaf in _leaves(inner, f"{name}.{key}".lstrip("."))]
    if isinstance(config, list) and any(isinstance(part, dict) for part in config):
        below = [leaf for number, part in enumerate(config) for leaf in _leaves(part, f"{name}.{number}")]
        return [(name, _names(config)), *below]
    if isinstance(config, list | bool):
        return [(name, json.dumps(config, ensure_ascii=False))]
    if isinstance(config, float) and config.is_integer():
        return [(name, int(config))]  # as it was written: where 0.5 is accepted, 500 is read as 500.0
    if name.endswith(".class_path"):
        return [(name, named_kind(str(config or "")))]
    return [(name, "" if config is None else config)]


def _names(parts: list[Any]) -> str:
    """Return the names of parts, each once and how often, such as ``PGD, PGD(SoftKNN) ×2``."""
    counts = Counter(map(_part_name, parts))
    return ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in counts.items())


def _part_name(part: Any) -> str:
    """Return the name that a part has in results, or its class with those of the parts that it is made of."""
    if not isinstance(part, dict):
        return str(part)
    own = {**part, **mapping(part.get("init_args"))}
    for key in ("name", "network") if "class_path" in part else ("name", "layer", "network"):
        if own.get(key):
            return str(own[key])
    kind = named_kind(str(own.get("class_path") or "?")).rpartition(".")[2]
    inner = [_part_name(value) for value in own.values() if isinstance(value, dict) and "class_path" in value]
    return NAMES.get(kind, kind) + (f"({', '.join(inner)})" if inner else "")


def _under(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
