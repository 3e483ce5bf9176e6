"""What a report consists of, before it is a web page or Markdown: one content, two renderings."""

from __future__ import annotations

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
    """

    head: list[str]
    rows: list[list[str]]
    words: int = 1
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A PNG file, and what to read where it cannot be seen."""

    path: Path
    text: str


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


Block = Heading | Paragraph | Table | Figure | Folded | Live
