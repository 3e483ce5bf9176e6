"""The threats that a run's configuration names."""

from __future__ import annotations

from typing import Any

from lit_knn.report.results.record import Record, mapping
from lit_knn.storage.kinds import named_kind

NAMES = {"GrayBox": "gray_box", "BlackBox": "black_box", "WhiteBox": "white_box"}  # by class, unless a run names them


def threats(record: Record) -> dict[str, dict[str, Any]]:
    """Return the arguments of each threat, and its ``class``, by its name; that of a tap may follow it in results."""
    found: dict[str, dict[str, Any]] = {}
    listed = mapping(record.config.get("model")).get("threats")
    for threat in map(mapping, listed if isinstance(listed, list) else []):
        kind, own = named_kind(str(threat.get("class_path", ""))), mapping(threat.get("init_args"))
        found.setdefault(str(own.get("name") or NAMES.get(kind, kind)), {**own, "class": kind})
    return found
