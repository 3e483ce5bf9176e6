"""The pages of the site, made while MkDocs builds it: the READMEs as they are, and a reference of what is exported.

A README keeps its path, so that a link from one to another is a link between pages.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).parents[2]
FOLDERS = ("configs", "findings", "lit_knn", "slurm", "tools")
TARGET = re.compile(r"""(?:\]\(|\bsrc(?:set)?=")([^)#:"\s]+)""")  # of a link or picture, in Markdown or HTML
CODE = re.compile(r"<code>([\w.]+)</code>(?!</a>)")


def readmes() -> list[str]:
    """Return the paths of the READMEs in the order of the menu, and of the changelog."""
    inside = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("README.md")))
    return ["README.md", *(path.relative_to(ROOT).as_posix() for path in inside), "CHANGELOG.md"]


def text(page: str) -> str:
    """Return what a page says."""
    return (ROOT / page).read_text(encoding="utf-8")


def title(page: str) -> str:
    """Return the first words of a page's heading, up to a colon."""
    return text(page).partition("\n")[0].lstrip("# ").partition(":")[0]


def shown() -> set[str]:
    """Return the paths of the pictures and other files that READMEs show or link to."""
    targets = ((ROOT / page).parent / target for page in readmes() for target in TARGET.findall(text(page)))
    return {path.resolve().relative_to(ROOT).as_posix() for path in targets if path.is_file()}


def rooms() -> dict[str, list[str]]:
    """Return for the dotted name of each package that exports names what its ``__all__`` lists."""
    found = {}
    for path in sorted((ROOT / "lit_knn").rglob("__init__.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                found[".".join(path.parent.relative_to(ROOT).parts)] = list(ast.literal_eval(node.value))
    return found


def reference() -> dict[str, str]:
    """Return the URLs, from the root of the site, that explain exports by dotted names, and classes by their own.

    A class that several rooms export is that of the room around the others, and left out where there is none.
    """
    exporters: dict[str, list[str]] = {}
    for room, names in rooms().items():
        for name in names:
            exporters.setdefault(name, []).append(room)
    found = {}
    for name, (first, *others) in exporters.items():
        found |= {f"{room}.{name}": f"reference/{room}.html#{room}.{name}" for room in (first, *others)}
        if name[0].isupper() and all(room.startswith(f"{first}.") for room in others):
            found[name] = found[f"{first}.{name}"]
    return found


REFERENCE = reference()


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages."""
    guide = [{title(page): page} for page in readmes()]
    config.nav = [*guide, {"Reference": [{room: f"reference/{room}.md"} for room in rooms()]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and what goes with them."""
    for path in sorted({*readmes()} | shown()):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for room, names in rooms().items():
        content = f"# `{room}`\n\n::: {room}\n    options:\n      members: {names}\n"
        files.append(File.generated(config, f"reference/{room}.md", content=content))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link each name of an export, where it stands as code, to its explanation."""

    def linked(code: re.Match[str]) -> str:
        url = REFERENCE.get(code[1])
        return f'<a href="{get_relative_url(url, page.url)}">{code[0]}</a>' if url else code[0]

    return CODE.sub(linked, html)
