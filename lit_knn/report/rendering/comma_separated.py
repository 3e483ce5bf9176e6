"""A table for programs."""

from __future__ import annotations

import csv
import io
import re

from lit_knn.report.rendering.document import Table

SHARE = re.compile(r"([+−]?)(\.\d+|\d+\.\d+)")


def comma_separated(table: Table) -> str:
    """Return a table as CSV: one line of head, each row with all of its words, numbers that any program reads.

    What is not there, – or "", is an empty cell, and of what is no number such as ``.511 PGD`` the text.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.whole_head)
    first = ""
    for row in table.rows:
        first = row[0] or first
        writer.writerow([first, *row[1 : table.words], *map(_number, row[table.words :])])
    return text.getvalue()


def _number(cell: str) -> str:
    """Return .427 as 0.427, −.015 as -0.015, and +.015 without its sign."""
    if cell == "–":
        return ""
    if found := SHARE.fullmatch(cell):
        sign, digits = found.groups()
        return f"{'-' if sign == '−' else ''}{'0' if digits.startswith('.') else ''}{digits}"
    return cell
