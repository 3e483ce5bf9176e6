"""A record's numbers under names that mean the same in every run, so that a dashboard draws lines of many as one chart.

Names are letters, digits and underscores, with slashes between their parts: W&B's app sorts and filters no others, and
draws what has a dot in its name over its own steps (https://github.com/wandb/wandb/issues/6659).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lit_knn.report.attackers import knows_defense
from lit_knn.report.headline import headline
from lit_knn.report.results.budgets import size_text
from lit_knn.report.results.case import Case
from lit_knn.report.results.record import Record, Row, variant
from lit_knn.report.results.variant import Variant


class Curve(NamedTuple):
    """What is one line over the size of the perturbation."""

    case: Case
    line: Variant
    topk: int

    @classmethod
    def of(cls, row: Row) -> Curve:
        """Return the one that a row is a point of."""
        return cls(Case.of(row), variant(row), row["topk"])


def size_name(norm: str) -> str:
    """Return what the size is called that an attack was allowed: an x axis for each norm, as no two can be compared."""
    return f"size/{norm}"


def realized_name(norm: str, case: Case) -> str:
    """Return what the mean size that an attack made use of is called."""
    return f"realized/{norm}/{_word(case.threat)}/{_word(case.attack)}"


def picture_name(stem: str) -> str:
    """Return what a picture is called that a run has under this name."""
    return f"pictures/{_word(stem)}"


def curve_names(record: Record) -> dict[Curve, str]:
    """Return the name of each line, such as ``curve/relative_l2/gray_box/PGD/kNN_early_K_50_UW_soft_top1``.

    Runs over databases of different sizes share names, unless one of them has several sizes itself.
    """
    names: dict[Curve, str] = {}
    taken: set[str] = set()
    lines = _line_names(record)
    for curve in dict.fromkeys(map(Curve.of, record.results)):
        threat, attack = map(_word, curve.case)
        name = f"curve/{record.norm}/{threat}/{attack}/{lines[curve.line]}_top{curve.topk}"
        while name in taken:  # of names that differ in signs only
            name += "_"
        taken.add(name)
        names[curve] = name
    return names


def points(record: Record) -> list[dict[str, float]]:
    """Return what is known at each size, in ascending order: `size_name`, each `realized_name`, and all curves."""
    names = curve_names(record)
    found: dict[float, dict[str, float]] = {}
    for row in sorted(record.results, key=lambda row: row["delta"]):
        point = found.setdefault(row["delta"], {size_name(record.norm): row["delta"]})
        point[realized_name(record.norm, Case.of(row))] = row["delta_mean"]
        point[names[Curve.of(row)]] = row["accuracy"]
    return list(found.values())


def summary(record: Record) -> dict[str, float | bool | list[str]]:
    """Return what runs are compared by, of the headline variants.

    Args:
        record: Of a run with results.

    Returns:
        ``clean/LINE``, the accuracy without an attack; ``worst_case/NORM/LINE/SIZE``, that of each image under all
        attacks of the run; whether any of its attackers knows the defense; and its warnings.
    """
    lines = _line_names(record)
    found: dict[str, float | bool | list[str]] = {
        "attacker_knows_defense": knows_defense(record),
        "warnings": record.warnings,
    }
    for line in headline(record.results).worst.lines:
        for row in line.rows:
            name, size = lines[variant(row)], _word(size_text(record.norm, row["delta"]))
            found[f"worst_case/{record.norm}/{name}/{size}" if row["delta"] else f"clean/{name}"] = row["accuracy"]
    return found


def _line_names(record: Record) -> dict[Variant, str]:
    lines = dict.fromkeys(map(variant, record.results))
    several = len({line.rows for line in lines} - {""}) > 1
    kept = {line: [word for field, word in line.words().items() if several or field != "rows"] for line in lines}
    return {line: _word(" ".join(words)) for line, words in kept.items()}


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")
