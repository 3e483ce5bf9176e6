"""A document as one HTML file that needs nothing else, but for many pictures: nothing is fetched from elsewhere.

Its script adds what a reader may do; without it, all that the document says is there.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lit_knn.report.rendering.document import Block, Figure, Folded, Heading, Links, Live, Paragraph, Table

LARGEST = 5_000_000  # bytes of a page: pictures are in it as far as there is room, and others are linked
ADDRESS = 32  # bytes of an embedded picture besides its content, rounded up
FEW = 8  # sections of a chapter up to which the contents have them in sight
NAME_GOES_ON = re.compile(r"(?<=\w[./_])(?=[a-zA-Z])")
SCRIPTS = ("page.js", "curves.js", "inspector.js")


class _Pictures:
    """Says where pictures are to be had: in the page as far as there is room, or where they lie.

    Args:
        folder: Where the page will lie; None if all are to be in it.
        room: Bytes of the page that pictures may take.
    """

    def __init__(self, folder: Path | None, room: int) -> None:
        self.folder, self._room = folder, room

    def take(self, size: int) -> bool:
        """Return whether there is room for so many bytes, which are taken then."""
        fits = size <= self._room
        self._room -= size if fits else 0
        return fits

    def address(self, path: Path) -> str:
        """Return where a file lies, seen from the page."""
        return quote(os.path.relpath(path, self.folder or Path()))

    def source(self, path: Path) -> str:
        """Return an address. A drawing is always in the page."""
        if path.suffix == ".svg":
            return f"data:image/svg+xml,{quote(path.read_text(encoding='utf-8'), safe=' /:=,;()')}"
        if self.folder is not None and not self.take(4 * path.stat().st_size // 3 + ADDRESS):
            return self.address(path)
        kind = "jpeg" if path.suffix == ".jpg" else "png"
        return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def web_page(blocks: Sequence[Block], folder: Path) -> str:
    """Return the page; its title is that of the first heading. All text is escaped.

    Drawings are in it, and so are pictures, in the order of the document, while it stays below `LARGEST` bytes: it
    shows others where they lie. What is live and needs pictures is left to stand still where its data has no room.

    Args:
        blocks: A document whose figures exist.
        folder: Where the page will lie.
    """
    title = next((block.text for block in blocks if isinstance(block, Heading)), "report")
    scripts = "".join(f"<script>\n{_asset(name)}</script>\n" for name in SCRIPTS)
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n<main>\n"
    )
    tail = f"</main>\n{scripts}</body>\n</html>\n"
    page = f"{head}{_body(blocks, _Pictures(folder, 0))}{tail}"
    room = LARGEST - len(page.encode())
    return f"{head}{_body(blocks, _Pictures(folder, room))}{tail}" if room > 0 and any(_pictures(blocks)) else page


def fragment(blocks: Sequence[Block]) -> str:
    """Return the same as a part of somebody else's page, such as a notebook: without a style, all pictures in it."""
    return _all(blocks, _Pictures(None, 0))


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _pictures(blocks: Sequence[Block]) -> Iterator[Path]:
    for block in blocks:
        if isinstance(block, Folded | Live):
            yield from _pictures(block.blocks if isinstance(block, Folded) else block.still)
            yield from block.pictures if isinstance(block, Live) else ()
        elif isinstance(block, Figure) and block.path.suffix != ".svg":
            yield block.path


def _body(blocks: Sequence[Block], pictures: _Pictures) -> str:
    """Return the document, with links to its headings below its title."""
    first = 1 if blocks and isinstance(blocks[0], Heading) else 0
    return _all(blocks[:first], pictures) + _contents(blocks) + _all(blocks[first:], pictures)


def _contents(blocks: Sequence[Block]) -> str:
    """Return links to the headings; those of the third level below the name of their chapter, many of them folded."""
    chapters: dict[str, list[str]] = {}
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            chapters[block.text] = []
        elif isinstance(block, Heading) and block.level == 3 and chapters:
            chapters[next(reversed(chapters))].append(block.text)
    if not chapters:
        return ""
    folds = [_fold(chapter, sections) for chapter, sections in chapters.items() if len(sections) > 1]
    return f'<nav aria-label="Contents">\n{"".join(map(_link, chapters))}{"".join(folds)}</nav>\n'


def _fold(chapter: str, sections: Sequence[str]) -> str:
    """Return links to the sections of a chapter, which are in sight where they are few."""
    seen = " open" if len(sections) <= FEW else ""
    links = "".join(map(_link, sections))
    return f"<details{seen}><summary>{escape(chapter)}: {len(sections)} sections</summary>\n{links}</details>\n"


def _link(text: str) -> str:
    return f'<a href="#{escape(quote(_anchor(text)))}">{escape(text)}</a>\n'


def _anchor(text: str) -> str:
    return "-".join(text.split())


def _all(blocks: Sequence[Block], pictures: _Pictures) -> str:
    return "".join(f"{_render(block, pictures)}\n" for block in blocks)


def _render(block: Block, pictures: _Pictures) -> str:
    match block:
        case Heading():
            return f'<h{block.level} id="{escape(_anchor(block.text))}">{escape(block.text)}</h{block.level}>'
        case Paragraph():
            kind = ' class="warning"' if block.warning else ""
            return f"<p{kind}>{escape(block.text)}</p>"
        case Table():
            return _table(block)
        case Figure():
            return f'<figure><img src="{escape(pictures.source(block.path))}" alt="{escape(block.text)}"></figure>'
        case Links():
            files = [f'<a href="{escape(pictures.address(path))}">{escape(path.name)}</a>' for path in block.paths]
            return f"<p>{escape(block.text)} {', '.join(files)}</p>"
        case Folded():
            return f"<details>\n<summary>{escape(block.title)}</summary>\n{_all(block.blocks, pictures)}</details>"
        case Live():
            return _live(block, pictures)


def _live(block: Live, pictures: _Pictures) -> str:
    still = f'<div class="still">\n{_all(block.still, pictures)}</div>'
    if pictures.folder is None:
        return still

    def whole(pictures: _Pictures) -> str:
        parts = (block.data, [pictures.source(path) for path in block.pictures])
        scripts = "".join(f'<script type="application/json">{_json(part)}</script>\n' for part in parts)
        return f'<div class="live" data-kind="{block.kind}">\n{still}\n{scripts}</div>'

    linked = whole(_Pictures(pictures.folder, 0))
    if block.pictures and not pictures.take(len(linked.encode()) - len(still.encode())):
        return still
    return whole(pictures)


def _json(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c")


def _table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>\n" if table.caption else ""
    body = "".join(f"<tr>{_cells('td', row, table.words)}</tr>\n" for row in table.rows)
    over = "".join(f"<tr>{''.join(map(_over, line))}</tr>\n" for line in table.over)
    head = f"<thead>{over}<tr>{_cells('th', table.head, table.words)}</tr></thead>\n"
    return f'<div class="wide"><table>\n{caption}{head}<tbody>\n{body}</tbody>\n</table></div>'


def _over(part: tuple[str, int]) -> str:
    text, columns = part
    return f'<th class="over" colspan="{columns}">{escape(text)}</th>' if text else f'<td colspan="{columns}"></td>'


def _cells(tag: str, cells: Sequence[str], words: int) -> str:
    texts = [_breakable(cell) if position < words else escape(cell) for position, cell in enumerate(cells)]
    kinds = [' class="word"' if position < words else "" for position in range(len(cells))]
    return "".join(f"<{tag}{kind}>{text}</{tag}>" for kind, text in zip(kinds, texts, strict=True))


def _breakable(text: str) -> str:
    """Return an escaped text whose long names, as of settings and files, may go on in the next line."""
    return NAME_GOES_ON.sub("<wbr/>", escape(text))
