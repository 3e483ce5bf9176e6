"""A document in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from lit_knn.report.rendering.document import Block, Figure, Folded, Heading, Live, Paragraph, Table


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
                console.print(_table(block))
            case Figure():
                console.print(Text(f"{block.text}: {block.path}"), soft_wrap=True)
            case Folded():
                show([Heading(block.title), *block.blocks], console)
            case Live():
                show(block.still, console)


def _table(table: Table) -> RichTable:
    caption = Text(table.caption, "dim") if table.caption else None
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    for number, name in enumerate(table.head):
        words = number < table.words  # they may be broken into lines, numbers may not
        shown.add_column(Text(name), justify="left" if words else "right", no_wrap=not words, overflow="fold")
    for row in table.rows:
        shown.add_row(*map(Text, row))
    return shown
