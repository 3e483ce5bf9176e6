"""The paper's tables as the paper prints them, with what runs have measured below each of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod

from lit_knn.report.rendering.document import Table
from lit_knn.report.results.paper import Beside
from lit_knn.report.results.published import Line, lines, others, shows
from lit_knn.report.results.record import variant
from lit_knn.report.results.variant import UNDEFENDED, Variant
from lit_knn.report.table import short, signed

NAME = "paper-table"  # of a table, before its number
PAPER, QUOTED = "paper", "paper, quoted"
DIFFERENCE, ELSEWHERE = "difference", "difference *"
ROWS = {"2": "Defense"}  # what the rows of a table are; of the others databases
LEVELS = {"1": ("setting", "weighting"), "2": ("setting",), "4": ("setting", "combination", "weighting")}  # of columns

Key = tuple[str, ...]  # of a column: its value of each level


def paper_tables(found: Mapping[str, Sequence[Beside]]) -> list[Table]:
    """Return the tables that runs name, in the paper's order, each of its rows with what was measured there below it.

    Args:
        found: By label of the run, what it has measured of one table.
    """
    named = {one.line.table for measured in found.values() for one in measured}
    numbers = dict.fromkeys(line.table for line in lines())
    return [_paper_table(number, found) for number in numbers if number in named]


def _paper_table(number: str, found: Mapping[str, Sequence[Beside]]) -> Table:
    printed = [line for line in lines() if line.table == number]
    values = [[*dict.fromkeys(level)] for level in zip(*(_key(*cell) for cell in _cells(printed)), strict=True)]
    *above, last = [[value.capitalize() if value.islower() else value for value in level] for level in values]
    columns = [*product(*values)]

    def row(name: str, source: str, cells: Mapping[Key, str]) -> list[str]:
        return [name, source, *(cells.get(column, "–") for column in columns)]

    rows = []
    for name in dict.fromkeys(map(_name, printed)):
        own = [line for line in printed if _name(line) == name]
        paper = {_key(line, setting): short(line.accuracies[setting]) for line, setting in _cells(own)}
        rows.append(row(name, QUOTED if own[0].kind == "quoted" else PAPER, paper))
        for label, measured in found.items():
            for source, here in _by_source(label, [one for one in measured if one.line in own]).items():
                at = {_key(one.line, one.setting): one for one in here}
                rows.append(row("", source, {key: short(one.measured["accuracy"]) for key, one in at.items()}))
                away = ELSEWHERE if any(one.differs for one in here) else DIFFERENCE
                rows.append(row("", away, {key: signed(one.difference) for key, one in at.items()}))
    over = [[("", 2), *_spanning(above[: depth + 1], len(columns))] for depth in range(len(above))]
    head = [ROWS.get(number, "Image database"), "Source", *last * prod(map(len, above))]
    return Table(head, rows, 2, _caption(number, printed, found), over, f"{NAME}-{number}")


def _cells(printed: Sequence[Line]) -> Iterator[tuple[Line, str]]:
    """Yield where the paper has a number."""
    return ((line, setting) for line in printed for setting in line.accuracies)


def _key(line: Line, setting: str) -> Key:
    values = {"setting": setting, "combination": line.combination, "weighting": line.weighting}
    return tuple(values[level] for level in LEVELS[line.table])


def _name(line: Line) -> str:
    return f"{line.row} ({line.tap})" if line.tap else line.row


def _by_source(label: str, measured: Sequence[Beside]) -> dict[str, list[Beside]]:
    """Return what a run has measured of a row of the paper, by defense: each is a row of its own."""
    found: dict[str, list[Beside]] = {}
    for one in measured:
        own: Variant = variant(one.measured)._replace(rows="", weighting="", combination="")
        found.setdefault(label if own.defense == UNDEFENDED else f"{label}: {own}", []).append(one)
    return found


def _spanning(levels: Sequence[Sequence[str]], columns: int) -> list[tuple[str, int]]:
    """Return the texts of the last of some levels of columns, and how many columns are below each."""
    texts = [*levels[-1]] * prod(map(len, levels[:-1]))
    return [(text, columns // len(texts)) for text in texts]


def _caption(number: str, printed: Sequence[Line], found: Mapping[str, Sequence[Beside]]) -> str:
    here = [one for measured in found.values() for one in measured if one.line.table == number]
    ends = [(row["high"] - row["accuracy"], row["accuracy"] - row["low"]) for row in (one.measured for one in here)]
    other = [
        f"{one.row} {one.weighting} is {', '.join(map(short, one.accuracies.values()))} in Table {one.table}"
        for line in printed
        for one in others(line)
    ]
    notes = {f"{line.row}: {line.note}": None for line in printed if line.note}
    return " ".join(
        [
            f"Dubey et al. 2019, Table {number}: {shows(number)}; PGD at Δ = 0.06, K = 50.",
            f"95 % intervals of what was measured are within ±{short(max(map(max, ends)))}.",
            *(["* In another setting than the paper's."] if any(one.differs for one in here) else []),
            *([f"The paper disagrees with itself: {'; '.join(other)}."] if other else []),
            *([f"{'; '.join(notes)}."] if notes else []),
        ]
    )
