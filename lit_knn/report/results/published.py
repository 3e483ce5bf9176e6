"""The paper's own numbers, as ``published.json`` has them, and where among them a run says that it belongs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from lit_knn.errors import UserError
from lit_knn.storage.reading import load_json

PUBLISHED_FILE = Path(__file__).with_name("published.json")
LINE = {"row": str, "kind": str, "accuracies": [float | None]}
FORM = {
    "columns": [str],
    "shows": {str: str},
    "tables": {str: [LINE]},
    "figures": {str: {"printed": bool, "panels": [str], "shows": str}},
}


class Line(NamedTuple):
    """A line of one of the paper's tables, under PGD at Δ = 0.06, with K = 50.

    Attributes:
        table: Its number.
        row: As the paper has it: a database or a defense.
        kind: ``undefended``, ``retrieval``, ``rival``, or ``quoted`` from elsewhere, so that no run stands beside it.
        accuracies: By setting (``clean``, ``gray box``, ``black box``), as far as they are printed.
        tap: Of a retrieval, where neighbors are looked for.
        weighting: How much each counts.
        combination: What is averaged.
        note: What else is not the same in any run, or why nothing may stand beside it.
        described: What a run's fingerprint says of such a rival, as far as it matters.
    """

    table: str
    row: str
    kind: str
    accuracies: dict[str, float]
    tap: str = ""
    weighting: str = ""
    combination: str = ""
    note: str = ""
    described: dict[str, Any] | None = None


class Figure(NamedTuple):
    """A figure of the paper, which prints no numbers of it.

    Attributes:
        panels: Names of its parts; none where it has one.
        shows: What is drawn.
    """

    panels: list[str]
    shows: str


class Place(NamedTuple):
    """Where in the paper the results of a run would stand: a row of a table, or a panel of a figure.

    Attributes:
        table: Number of a table, or "".
        row: Of the table: that of the run's retrieval defenses, a database, or that of its only defense.
        figure: Number of a figure, or "".
        panel: Of the figure; "" for all of it.
    """

    table: str = ""
    row: str = ""
    figure: str = ""
    panel: str = ""

    def __str__(self) -> str:
        """Return it in words, such as ``Table 2, IN-1.3M``."""
        parts = [f"Table {self.table}", self.row] if self.table else [f"Figure {self.figure}", self.panel]
        return ", ".join(filter(None, parts))


@cache
def lines() -> list[Line]:
    """Return all lines of all tables, in the paper's order."""
    content = _content()
    return [
        Line(
            **{key: value for key, value in line.items() if key != "accuracies"},
            table=table,
            accuracies={
                column: accuracy
                for column, accuracy in zip(content["columns"], line["accuracies"], strict=True)
                if accuracy is not None
            },
        )
        for table, found in content["tables"].items()
        for line in found
    ]


def shows(table: str) -> str:
    """Return what a table holds, in words."""
    return str(_content()["shows"][table])


@cache
def figures() -> dict[str, Figure]:
    """Return the figures by number; none has numbers."""
    return {number: Figure(part["panels"], part["shows"]) for number, part in _content()["figures"].items()}


def others(line: Line) -> list[Line]:
    """Return the lines of other tables that print other numbers of the same."""
    same = [other for other in lines() if other[1:3] + other[4:7] == line[1:3] + line[4:7]]
    return [other for other in same if other.accuracies != line.accuracies]


def disagreement(line: Line, setting: str) -> str:
    """Return what other tables have printed of the same, such as ``Table 2 has .462``; "" where it is the same."""
    found = {other.table: other.accuracies.get(setting) for other in others(line)}
    wrong = {table: value for table, value in found.items() if value not in (None, line.accuracies[setting])}
    return ", ".join(f"Table {table} has {value:.3f}" for table, value in wrong.items()).replace(" 0.", " .")


def place(given: object) -> Place | None:
    """Return where in the paper a configuration's key ``paper`` says that its results belong; None without one.

    Raises:
        UserError: If there is no such place, or it is a line that the paper quotes from elsewhere.
    """
    if given is None:
        return None
    if not isinstance(given, dict) or not {*given} <= {*Place._fields} or not given:
        example = "{table: '2', row: IN-1.3M} or {figure: '5', panel: gray}"
        raise UserError(f"paper is {given!r}; one place is accepted, such as {example}")
    found = Place(**{key: str(value) for key, value in given.items()})
    by_table = {"table", "row"} & {*given}
    if by_table and {"figure", "panel"} & {*given}:
        raise UserError("paper names a table and a figure; one of both is accepted")
    if by_table:
        _among("paper.table", found.table, [line.table for line in lines()])
        rows = {line.row: line for line in lines() if line.table == found.table}
        _among("paper.row", found.row, [row for row, line in rows.items() if line.kind != "quoted" or row == found.row])
        if rows[found.row].kind == "quoted":
            raise UserError(f"paper.row is {found.row}, which the paper quotes from elsewhere: no run stands beside it")
    else:
        _among("paper.figure", found.figure, [*figures()])
        _among("paper.panel", found.panel, ["", *figures()[found.figure].panels])
    return found


def _among(key: str, value: str, known: list[str]) -> None:
    if value not in known:
        accepted = ", ".join(dict.fromkeys(filter(None, known))) or "none, as it has one panel"
        raise UserError(f"{key} is {value!r}; accepted are {accepted}")


@cache
def _content() -> Any:
    return load_json(PUBLISHED_FILE, "install lit_knn again", FORM)
