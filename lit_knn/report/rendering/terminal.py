"""A document in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lit_knn.report.rendering.document import Block, Figure, Folded, Heading, Links, Live, Paragraph, Table

WORD = 16  # letters of a word that is not broken, such as layer3.8.add
NUMBERS = 0.6  # of the width at most, so that words have the rest


def show(blocks: Sequence[Block], console: Console) -> None:
    """Print the document: text as it is, what is folded on a web page open, and of figures their paths."""
    for block in blocks:
        match block:
            case Heading():
                console.print(Text(block.text, "bold"), end="\n\n")
            case Paragraph():
                note = f"Note: {block.text}" if block.warning else block.text
                console.print(Text(note, "yellow" if block.warning else ""), end="\n\n")
            case Table():
                *parts, last = _columns(block, console.width)
                for columns in parts:
                    console.print(_table(replace(block, caption=""), columns, console.width))
                console.print(_table(block, last, console.width))
                console.print()
            case Figure():
                console.print(Text(f"{block.text}: {block.path}"), soft_wrap=True)
            case Links():
                console.print(Text(f"{block.text} {', '.join(path.name for path in block.paths)}"), soft_wrap=True)
            case Folded():
                show([Heading(block.title), *block.blocks], console)
            case Live():
                show(block.still, console)


def _columns(table: Table, width: int) -> list[list[int]]:
    """Return the columns of a table, or where its numbers leave no room, those of each text of its uppermost line."""
    words, heads = [*range(table.words)], [_stacked(parts) for parts in table.heads]
    columns = zip(heads, *table.rows, strict=True)
    taken = [2 + max(len(line) for cell in column for line in cell.splitlines() or [""]) for column in columns]
    if not table.over or sum(taken[table.words :]) <= NUMBERS * width:
        return [[*range(len(table.head))]]
    ends = [*accumulate(columns for _, columns in table.over[0])]
    return [[*words, *range(start, end)] for start, end in pairwise(ends)]


def _stacked(parts: Sequence[str]) -> str:
    """Return a head as narrow as it goes: what stands over a column, and its name, a word a line."""
    return "\n".join(" ".join(parts).split()) if len(parts) > 1 else "".join(parts)


def _table(table: Table, columns: Sequence[int], width: int) -> RichTable:
    caption = Text(table.caption, "dim") if table.caption else None
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False, caption=caption)
    shown.caption_justify = "left"
    cells = [[_stacked(table.heads[column]), *(row[column] for row in table.rows)] for column in columns]
    least = [_least(column, words=place < table.words) for column, place in zip(cells, columns, strict=True)]
    fits = sum(least) + 2 * (len(least) - 1) <= width
    for (head, *_), place, narrowest in zip(cells, columns, least, strict=True):
        words = place < table.words  # they may be broken into lines, numbers may not
        shown.add_column(
            Text(head),
            justify="left" if words else "right",
            no_wrap=not words,
            overflow="fold",
            min_width=narrowest if fits else None,
        )
    for row in table.rows:
        shown.add_row(*(Text(row[column]) for column in columns))
    return shown


def _least(cells: Sequence[str], *, words: bool) -> int:
    """Return the width in which no line of numbers is broken, and no word of text but one that is too long."""
    parts = [part for cell in cells for part in (cell.split() if words else cell.splitlines())]
    return max((len(part) for part in parts if not words or len(part) <= WORD), default=0)
