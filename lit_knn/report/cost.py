"""What attacks and defenses cost, as tables say it."""

from __future__ import annotations

from lit_knn.report.results import WORST_CASE, Case, Record

PASSES = "passes: mean of an image, forward and backward"
COST_HEAD = ["defense", "random", "gradient", "passes", "images/s", "× none"]
COST_TITLE = "What an answer costs"
COSTS = (
    "gradient: what an attacker follows, the defense's own or one lent by BPDA; passes: of any network, for an image"
)


def mean_passes(record: Record) -> dict[Case, dict[float, str]]:
    """Return, by case and Δ, how many passes an image took on average, forward and backward together.

    Those of the worst case are of all attacks. Where the record knows of none, as an old one, the result is empty.
    """
    found: dict[Case, dict[float, float]] = {}
    images = max(row["n"] for row in record.results)
    for row in record.passes:
        each = (row["forward"] + row["backward"]) / images
        for case in (Case(row["threat"], row["attack"]), WORST_CASE):
            sizes = found.setdefault(case, {})
            sizes[row["delta"]] = sizes.get(row["delta"], 0) + each
    return {case: {delta: _number(value) for delta, value in sizes.items()} for case, sizes in found.items()}


def cost_rows(record: Record) -> list[list[str]]:
    """Return a row under `COST_HEAD` for each defense, no defense first; an old record has none."""
    return [
        [
            cost["defense"],
            "yes" if cost["random"] else "no",
            cost["gradient"],
            _number(cost["passes"]),
            _digits(1 / cost["seconds"]),
            _digits(cost["seconds"] / record.costs[0]["seconds"]),
        ]
        for cost in record.costs
    ]


def _digits(value: float) -> str:
    """Return three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{2 if value < 10 else 1}f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
