"""What a defense that rejects is worth: how much it answers, how rightly, and what attacks get past it."""

from __future__ import annotations

from typing import NamedTuple

from lit_knn.report.rendering.document import Table
from lit_knn.report.results.budgets import sized
from lit_knn.report.results.record import Record, leading, variant
from lit_knn.report.results.variant import Variant, preferred
from lit_knn.report.table import short

CAPTION = (
    "Coverage is the share of clean images that are answered, and clean accuracy that of these. Robust accuracy counts "
    "an attacked image as right if its answer is right or it is rejected (Tramèr 2022): read it beside the coverage, "
    "as who rejects everything has all of it. Of several attacks it is what the worst leaves."
)


class Kept(NamedTuple):
    """A defense at one threshold, under attacks of one size.

    Attributes:
        line: The defense in words, without the threshold.
        keep: Share of the database's rows that it would answer; blank where a threshold was given.
        delta: Size of the perturbation.
        coverage: Share of clean images that it answers.
        clean: Accuracy on those; 0 if there are none.
        robust: Share of attacked images that are answered rightly or rejected.
        answered: Share of attacked images that are answered rightly.
    """

    line: str
    keep: float | str
    delta: float
    coverage: float
    clean: float
    robust: float
    answered: float


def kept(record: Record) -> list[Kept]:
    """Return what there is of the defenses of a run that reject: of each the preferred variant, at each keep and Δ > 0.

    Under several attacks, the least that any leaves, or that all leave together, where that is known. Of several
    evaluations of a query the mean, as by the worst or the majority an image may be neither answered nor rejected.
    """
    rows = [row for row in leading(record.results) if row["rejected"] and row["protocol"] in ("", "mean")]
    plain = {variant(row): variant(row)._replace(keep="", rejected="") for row in rows}
    shown = {*preferred(list(dict.fromkeys(plain.values())))}
    found: dict[tuple[Variant, float], dict[str, float]] = {}
    for row in rows:
        if plain[variant(row)] in shown:
            cell = found.setdefault((variant(row)._replace(rejected=""), row["delta"]), {})
            cell[row["rejected"]] = min(row["accuracy"], cell.get(row["rejected"], 1.0))
    points = []
    for (one, delta), cell in found.items():
        clean = found.get((one, 0.0))
        if delta == 0 or clean is None or len(cell) < 2:
            continue
        coverage = clean["wrong"] + 1 - clean["right"]
        right = clean["wrong"] / coverage if coverage > 0 else 0.0
        line = str(one._replace(keep="", rejected=""))
        points.append(Kept(line, one.keep, delta, coverage, right, cell["right"], cell["wrong"]))
    return points


def rejection_table(record: Record, delta: float) -> Table | None:
    """Return the accuracies at one size, of a run with defenses that reject."""
    points = sorted(
        (point for point in kept(record) if point.delta == delta), key=lambda point: -float(point.keep or 0)
    )
    if not points:
        return None
    size = sized(record.norm, delta)
    head = [
        "defense",
        "keep",
        "coverage",
        "clean accuracy",
        f"robust accuracy at {size}",
        f"answered rightly at {size}",
    ]
    lines = dict.fromkeys(point.line for point in points)
    rows = [_cells(point) for line in lines for point in points if point.line == line]
    return Table(head, rows, 1, CAPTION)


def _cells(point: Kept) -> list[str]:
    keep = f"{float(point.keep):g}" if point.keep else "–"
    return [point.line, keep, *map(short, (point.coverage, point.clean, point.robust, point.answered))]
