"""The few results that a person looks at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lit_knn.report.results import WORST_CASE, Case, Row, Variant, leading, preferred
from lit_knn.report.results.record import variant

PROTOCOL = "mean-of-n: share of n evaluations that are right; worst-of-n: all are; majority-of-n: more than half"


class Line(NamedTuple):
    """One defense variant under one threat and attack, a row per Δ in ascending order."""

    label: str
    rows: list[Row]


class Panel(NamedTuple):
    """All headline variants under one threat and attack."""

    case: Case
    lines: list[Line]

    @property
    def title(self) -> str:
        """What tables and figures call it."""
        return self.case.title


class Headline(NamedTuple):
    """What to show, what its labels leave out since all of it shares that, and how many variants are not shown."""

    panels: list[Panel]
    topk: int
    shared: str
    hidden: int

    @property
    def rows(self) -> list[Row]:
        """All that is shown."""
        return [row for panel in self.panels for line in panel.lines for row in line.rows]

    @property
    def worst(self) -> Panel:
        """What all attacks together leave of each image; the only panel, if there is one attack."""
        return next((panel for panel in self.panels if panel.case == WORST_CASE), self.panels[0])

    @property
    def protocol(self) -> str:
        """What several evaluations are taken for, in words; "" where there are none."""
        return PROTOCOL if any(row["protocol"] for row in self.rows) else ""

    @property
    def half(self) -> float:
        """The widest half of the confidence intervals of what is shown."""
        return max(max(row["high"] - row["accuracy"], row["accuracy"] - row["low"]) for row in self.rows)


def headline(results: Sequence[Row]) -> Headline:
    """Show the `preferred` variants, at the smallest k of top-k.

    Args:
        results: Rows of a record, at least one.
    """
    shown = leading(results)
    found: dict[tuple[Case, Variant], list[Row]] = {}
    for row in shown:
        found.setdefault((Case.of(row), variant(row)), []).append(row)
    variants = list(dict.fromkeys(line for _, line in found))
    chosen = preferred(variants)
    rows = ["rows"] if len(_values(variants, "rows")) > 1 else []
    told = ["k", "weighting", "combination", *rows, "keep", "rejected", "protocol"]
    varying = {field for field in told if len(_values(chosen, field)) > 1}
    shared = ", ".join(part for field in told if field not in varying for part in _values(chosen, field))
    panels = [
        Panel(
            one,
            [
                Line(_label(v, varying), sorted(found[one, v], key=lambda row: row["delta"]))
                for v in chosen
                if (one, v) in found
            ],
        )
        for one in dict.fromkeys(case for case, _ in found)
    ]
    return Headline(panels, shown[0]["topk"], shared, len(variants) - len(chosen))


def _values(variants: Sequence[Variant], field: str) -> list[str]:
    """Return the different values of a field in words, without the blanks of defenses that have none."""
    return list(dict.fromkeys(v.words()[field] for v in variants if field in v.words()))


def _label(variant: Variant, varying: set[str]) -> str:
    return " ".join(word for field, word in variant.words().items() if field in ("defense", "tap") or field in varying)
