r"""The tables of a document for a paper that is written in LaTeX, to be ``\input``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lit_knn.report.rendering.document import Table

HEAD = r"% By lit-knn report, to be \input into a document with \usepackage{booktabs,graphicx}." + "\n"
COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    **{character: f"\\{character}" for character in "$&#%_"},
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"{{{character}}}" for character in "[]*`"},  # or options of the row before, and quotation marks
    **{character: f"{character}{{}}" for character in "-'"},  # before another one, as both would be a dash or a quote
}
SYMBOLS = {
    "L∞": r"$L_\infty$",
    "Δ": r"$\Delta$",
    "∞": r"$\infty$",
    "‖": r"$\|$",
    "₂": r"$_2$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "−": "$-$",
    "–": "{--}",
    "…": r"\ldots{}",
}
REPLACED = COMMANDS | SYMBOLS
PATTERN = re.compile("|".join([*(re.escape(text) for text in REPLACED if text not in "-'"), r"([-'])(?=\1)"]))


def latex(tables: Sequence[Table]) -> str:
    """Return a ``table`` environment for each table, in the style of booktabs, shrunk where it is wider than the text.

    Letters that are neither ASCII nor in `SYMBOLS` stay as they are: LaTeX has to know them.

    Args:
        tables: Each with a name, which becomes its label, such as ``tab:attackers``.
    """
    return "\n".join([HEAD, *map(_table, tables)])


def _table(table: Table) -> str:
    columns = "l" * table.words + "r" * (len(table.head) - table.words)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(table.caption or table.name)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\medskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *(line for over in table.over for line in _over(over)),
        _row(table.head),
        r"\midrule",
        *(line for number, row in enumerate(table.rows) for line in _part(row, first=not number)),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _over(line: Sequence[tuple[str, int]]) -> list[str]:
    """Return a line above the head, and the rules below its texts."""
    cells, rules, column = [], [], 1
    for text, columns in line:
        cells.append(rf"\multicolumn{{{columns}}}{{c}}{{{escaped(text)}}}")
        rules += [rf"\cmidrule(lr){{{column}-{column + columns - 1}}}"] * bool(text)
        column += columns
    return [f"{' & '.join(cells)} \\\\", " ".join(rules)]


def _part(row: Sequence[str], *, first: bool) -> list[str]:
    """Return a row, set off a little from what does not belong to it."""
    return [*([] if first or not row[0] else [r"\addlinespace"]), _row(row)]


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(map(escaped, cells))} \\\\"


def escaped(text: str) -> str:
    """Return a text that LaTeX sets as it reads, in one line, without what cannot be seen."""
    seen = "".join(letter for letter in " ".join(text.split()) if unicodedata.category(letter)[0] != "C")
    return PATTERN.sub(lambda found: REPLACED[found[0]], seen)
