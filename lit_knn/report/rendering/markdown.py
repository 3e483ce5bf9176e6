"""A document as Markdown, for a pull request or a notebook; pictures stay beside it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from lit_knn.report.rendering.document import Block, Figure, Folded, Heading, Links, Live, Paragraph, Table

SPECIAL = re.compile(r"([\\`*_\[\]<>|#&~$])")


def markdown(blocks: Sequence[Block], folder: Path) -> str:
    """Return the text; whatever could be taken for markup is escaped, and what is folded on a web page is open.

    Args:
        blocks: A document.
        folder: Where the text will lie: paths of pictures are seen from there.
    """
    return "\n\n".join(part for block in blocks for part in _render(block, folder)) + "\n"


def _render(block: Block, folder: Path) -> list[str]:
    match block:
        case Heading():
            return [f"{'#' * block.level} {_text(block.text)}"]
        case Paragraph():
            return [f"> **Note:** {_text(block.text)}" if block.warning else _text(block.text)]
        case Table():
            rule = "|".join("---" if position < block.words else "---:" for position in range(len(block.head)))
            lines = [_line(block.whole_head), f"|{rule}|", *map(_line, block.rows)]
            return ["\n".join(lines), *([_text(block.caption)] if block.caption else [])]
        case Figure():
            return [f"!{_link(block.text, block.path, folder)}"]
        case Links():
            return [f"{_text(block.text)} {', '.join(_link(path.name, path, folder) for path in block.paths)}"]
        case Folded():
            return [f"**{_text(block.title)}**", *(part for inner in block.blocks for part in _render(inner, folder))]
        case Live():
            return [part for inner in block.still for part in _render(inner, folder)]


def _link(text: str, path: Path, folder: Path) -> str:
    return f"[{_text(text)}]({quote(os.path.relpath(path, folder))})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_text, cells))} |"


def _text(text: str) -> str:
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
