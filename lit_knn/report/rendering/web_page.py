"""A document as one HTML file that needs nothing else, but for many pictures: no script, nothing fetched."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from lit_knn.report.rendering.document import Block, Figure, Folded, Heading, Paragraph, Table

STYLE = """\
:root { --ink: #1c1e21; --soft: #5c6470; --line: #dfe3e8; --band: #f6f7f9; --accent: #0072b2; --warn: #d55e00; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--ink);
  background: #fff; max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 .8rem; padding-top: .9rem; border-top: 2px solid var(--line); }
h3 { font-size: 1.08rem; margin: 2rem 0 .5rem; }
p { max-width: 52rem; margin: .7rem 0; }
p.warning { border-left: 4px solid var(--warn); background: #fdf4ee; padding: .6rem .9rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { caption-side: bottom; text-align: left; color: var(--soft); font-size: .85rem; padding-top: .5rem; }
th, td { padding: .35rem .8rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid var(--ink); vertical-align: bottom; }
th.word, td.word { text-align: left; overflow-wrap: break-word; max-width: 24rem; }
tbody tr:hover { background: var(--band); }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; }
details { margin: .8rem 0; border: 1px solid var(--line); border-radius: 6px; padding: .5rem .9rem; }
summary { cursor: pointer; color: var(--accent); }
@media print { details { border: 0; padding: 0; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


MOST = 3_000_000  # bytes of pictures in a page; more are linked


def web_page(blocks: Sequence[Block], folder: Path) -> str:
    """Return the page; its title is that of the first heading. All text is escaped.

    Drawings are in it, and so are pictures unless they are too many: then it shows them where they lie.

    Args:
        blocks: A document whose figures exist.
        folder: Where the page will lie.
    """
    title = next((block.text for block in blocks if isinstance(block, Heading)), "report")
    pictures = sum(path.stat().st_size for path in _pictures(blocks))
    beside = folder if pictures > MOST else None
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n"
        f"<body>\n{_all(blocks, beside)}</body>\n</html>\n"
    )


def fragment(blocks: Sequence[Block]) -> str:
    """Return the same as a part of somebody else's page, such as a notebook: without a style, all pictures in it."""
    return _all(blocks, None)


def _pictures(blocks: Sequence[Block]) -> Iterator[Path]:
    for block in blocks:
        if isinstance(block, Folded):
            yield from _pictures(block.blocks)
        elif isinstance(block, Figure) and block.path.suffix != ".svg":
            yield block.path


def _all(blocks: Sequence[Block], beside: Path | None) -> str:
    return "".join(f"{_render(block, beside)}\n" for block in blocks)


def _render(block: Block, beside: Path | None) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
        case Paragraph():
            kind = ' class="warning"' if block.warning else ""
            return f"<p{kind}>{escape(block.text)}</p>"
        case Table():
            return _table(block)
        case Figure():
            return f'<figure><img src="{escape(_source(block.path, beside))}" alt="{escape(block.text)}"></figure>'
        case Folded():
            return f"<details>\n<summary>{escape(block.title)}</summary>\n{_all(block.blocks, beside)}</details>"


def _source(path: Path, beside: Path | None) -> str:
    if path.suffix == ".svg":
        return f"data:image/svg+xml,{quote(path.read_text(encoding='utf-8'), safe=' /:=,;()')}"
    if beside is not None:
        return quote(os.path.relpath(path, beside))
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>\n" if table.caption else ""
    body = "".join(f"<tr>{_cells('td', row, table.words)}</tr>\n" for row in table.rows)
    head = f"<thead><tr>{_cells('th', table.head, table.words)}</tr></thead>\n"
    return f'<div class="wide"><table>\n{caption}{head}<tbody>\n{body}</tbody>\n</table></div>'


def _cells(tag: str, cells: Sequence[str], words: int) -> str:
    kinds = [' class="word"' if position < words else "" for position in range(len(cells))]
    return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
