"""Which rows of two runs are of the same attack, size, defense variant and k."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lit_knn.report.results.budgets import sized
from lit_knn.report.results.case import Case
from lit_knn.report.results.record import Record, Row, variant
from lit_knn.report.results.variant import Variant
from lit_knn.report.settings import database_sizes

CLEAN = Case("", "clean")


class Key(NamedTuple):
    """What two rows have in common that may be compared.

    Attributes:
        case: Threat and attack; `CLEAN` at size 0, where nobody has attacked, whatever the case.
        norm: What the size is in; "" at size 0.
        delta: Size of the perturbation.
        line: Variant of the defense. Without the number of evaluations that a mean is of, which all estimate the same,
            and in `match` without the rows of the database where each run has only one size.
        topk: How many classes a prediction has.
    """

    case: Case
    norm: str
    delta: float
    line: Variant
    topk: int


class Matched(NamedTuple):
    """Rows of two runs A and B.

    Attributes:
        both: Of A and of B, by what they have in common, in the order of A.
        only_a: Those that B lacks.
        only_b: Those that A lacks.
    """

    both: dict[Key, tuple[Row, Row]]
    only_a: dict[Key, Row]
    only_b: dict[Key, Row]


def match(a: Record, b: Record) -> Matched:
    """Return which rows two runs have in common; clean ones count once for all attacks."""
    several = any(len(database_sizes(record)) > 1 for record in (a, b))
    rows_a, rows_b = (_keyed(record.results, several) for record in (a, b))
    return Matched(
        {key: (row, rows_b[key]) for key, row in rows_a.items() if key in rows_b},
        {key: row for key, row in rows_a.items() if key not in rows_b},
        {key: row for key, row in rows_b.items() if key not in rows_a},
    )


def absent(missing: Iterable[Key], others: Sequence[Key]) -> dict[str, list[str]]:
    """Return in words what of the keys that another run lacks it has nowhere: attacks, sizes, taps and so on.

    Args:
        missing: Keys of the one run that the other lacks.
        others: All keys of the other.
    """
    found: dict[str, dict[str, None]] = {}
    known = {part for key in others for part in _parts(key)}
    for key in missing:
        for kind, text in _parts(key):
            if (kind, text) not in known:
                found.setdefault(kind, {})[text] = None
    return {kind: list(texts) for kind, texts in found.items()}


def _keyed(rows: Sequence[Row], sizes: bool) -> dict[Key, Row]:
    keyed: dict[Key, Row] = {}
    for row in rows:
        line = variant(row)
        line = line.answer if line.protocol == "mean" else line
        line = line if sizes else line._replace(rows="")
        attacked, norm = (Case.of(row), row["norm"]) if row["delta"] else (CLEAN, "")
        keyed.setdefault(Key(attacked, norm, row["delta"], line, row["topk"]), row)
    return keyed


def _parts(key: Key) -> list[tuple[str, str]]:
    attacked = [("attack", key.case.title), ("size", sized(key.norm, key.delta))] if key.delta else []
    return [*attacked, *key.line.words().items(), ("topk", f"top-{key.topk}")]
