"""What a report consists of, before it is a web page, text or LaTeX: one content, several renderings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the document's title."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph, set off if it is a warning."""

    text: str
    warning: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; the first ``words`` columns are words, the others are numbers.

    A blank first cell stands for the one above it. What starts with a number is sorted by it, all else comes last.

    Attributes:
        over: Lines above the head, from the top: texts, each with how many columns it stands over; all columns in all.
        name: What a file of it is called where it is of use by itself, in small letters, digits, and ``-``; else "".
    """

    head: list[str]
    rows: list[list[str]]
    words: int = 1
    caption: str = ""
    over: list[list[tuple[str, int]]] = field(default_factory=list)
    name: str = ""

    @property
    def heads(self) -> list[list[str]]:
        """Of each column what stands over it, from the top, and its head."""
        above = [[text for text, columns in line for _ in range(columns)] for line in self.over]
        return [[text for text in column if text] for column in zip(*above, self.head, strict=True)]

    @property
    def whole_head(self) -> list[str]:
        """The head in one line."""
        return [" ".join(parts) for parts in self.heads]


@dataclass(frozen=True)
class Figure:
    """A PNG or SVG file, what to read where it cannot be seen, and of a PNG the same as SVG if there is one."""

    path: Path
    text: str
    drawing: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All files of it."""
        return [self.path, *([self.drawing] if self.drawing else [])]


@dataclass(frozen=True)
class Links:
    """A sentence, and the files that it is about, which lie beside the document."""

    text: str
    paths: list[Path]


@dataclass(frozen=True)
class Folded:
    """What is shown on demand."""

    title: str
    blocks: list[Block]


@dataclass(frozen=True)
class Live:
    """What a reader of a web page may ask, in place of what stands everywhere else.

    Attributes:
        kind: Which script shows it.
        data: What it shows, as JSON would hold it.
        still: What is seen on paper, without a script, and in other renderings.
        pictures: Files whose addresses the script is told.
    """

    kind: Literal["curves", "neighbors"]
    data: dict[str, Any]
    still: list[Block]
    pictures: list[Path] = field(default_factory=list)


Block = Heading | Paragraph | Table | Figure | Links | Folded | Live


def named_tables(blocks: Sequence[Block]) -> Iterator[Table]:
    """Yield the tables of a document that are of use by themselves."""
    for block in blocks:
        if isinstance(block, Folded):
            yield from named_tables(block.blocks)
        elif isinstance(block, Table) and block.name:
            yield block
