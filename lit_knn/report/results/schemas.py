"""Records of older layouts, brought to this one."""

from __future__ import annotations

from typing import Any

from lit_knn.report.results.budgets import DEFAULT
from lit_knn.storage.reading import conform, parse_json

SCHEMA = 9
ADDED: dict[int, dict[str, Any]] = {  # what records of each readable schema lack
    2: {"warnings": [], "passes": [], "costs": []},
    3: {"passes": [], "costs": []},
    4: {"passes": [], "costs": []},
    5: {"costs": []},
    6: {"costs": []},
    7: {},
    8: {},
    SCHEMA: {},
}


def convert(content: dict[str, Any], schema: int) -> None:
    """Bring what a record of an older schema holds in another form to that of this one.

    Raises:
        ValueError: If it is not what that schema says.
    """
    if schema < 4:  # JSON in fingerprints was text
        conform(content["fingerprints"], {str: str}, "fingerprints")
        for name, text in content["fingerprints"].items():
            if text.startswith(("{", "[")):
                content["fingerprints"][name] = parse_json(text)
    if schema < SCHEMA:
        conform(content["results"], [dict], "results")
    if schema < 6:  # all sizes were Δ
        content["results"] = [_with_norm(row) for row in content["results"]]
    if schema < 8:  # each query was evaluated once
        content["results"] = [_before_topk(row, protocol="", evaluations="") for row in content["results"]]
    if schema < 9:  # every query was answered
        content["results"] = [_before_topk(row, keep="", rejected="") for row in content["results"]]


def _with_norm(row: dict[str, Any]) -> dict[str, Any]:
    threat, attack, *rest = row.items()
    return dict([threat, attack, ("norm", DEFAULT), *rest])


def _before_topk(row: dict[str, Any], **columns: Any) -> dict[str, Any]:
    parts, place = [*row.items()], list(row).index("topk")
    return dict([*parts[:place], *columns.items(), *parts[place:]])
