"""Which files a pattern in a configuration means."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from lit_knn.errors import UserError


def local_files(patterns: Iterable[str | Path], *, kind: str, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files that patterns name, in the order of the patterns, those of one pattern sorted.

    ``{000..123}``, ``{a..e}``, ``{0..8..2}`` and ``{a,b}`` stand for all their values, and each of them has to exist.
    A folder, and Python's ``*``, ``?``, ``[0-9]``, ``[!0-9]`` and ``**``, stand for the files there that end with one
    of the suffixes; others are left out.

    Args:
        patterns: Paths or patterns, at least one; ``~`` is the home folder.
        kind: Word for such a file in messages, such as ``metadata``.
        suffixes: Endings that a folder or a wildcard finds, in lower case and with the dot.

    Raises:
        UserError: If there is no pattern, one finds nothing, or a file is named twice.
    """
    paths: list[Path] = []
    for pattern in _expanded(patterns):
        found = [pattern] if os.path.isfile(pattern) else _found(pattern, suffixes)
        if not found:
            raise UserError(
                f"no {kind} file matches {pattern}: accepted are local files, named {' or '.join(suffixes)} if a "
                "folder or a wildcard is to find them"
            )
        paths += map(Path, found)
    if twice := [path for path, times in Counter(paths).items() if times > 1]:
        raise UserError(f"{twice[0]} is named twice, so that each of its images would count twice")
    return paths


def neighboring_files(patterns: Iterable[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files with these suffixes that the folders and wildcards among patterns find, sorted."""
    wild = [pattern for pattern in _expanded(patterns) if not os.path.isfile(pattern)]
    return sorted({Path(name) for pattern in wild for name in _found(pattern, suffixes)})


def _expanded(patterns: Iterable[str | Path]) -> Iterator[str]:
    for given in patterns:
        yield from _expand(os.path.expanduser(given))


def _found(pattern: str, suffixes: tuple[str, ...]) -> list[str]:
    folder, name = os.path.split(pattern)
    if os.path.isdir(pattern):
        folder, name = pattern, "*"
    if os.path.isdir(folder):  # brackets in the name of a folder that is there are no wildcard
        folder = glob.escape(folder)
    names = glob.glob(os.path.join(folder, name), recursive=True)
    return sorted(name for name in names if name.lower().endswith(suffixes) and os.path.isfile(name))


def _expand(pattern: str) -> list[str]:
    """Expand braces as a shell would, but for those within others."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    choices = _range(match[1]) or match[1].split(",")
    return [path for choice in choices for path in _expand(pattern[: match.start()] + choice + pattern[match.end() :])]


def _range(text: str) -> list[str]:
    """Return the values of ``000..123``, ``a..e``, or either with a step, in either direction; none of other texts."""
    bounds = re.fullmatch(r"(?:(\d+)\.\.(\d+)|([a-zA-Z])\.\.([a-zA-Z]))(?:\.\.([1-9]\d*))?", text)
    if bounds is None:
        return []
    first, last = (int(bounds[1]), int(bounds[2])) if bounds[1] else (ord(bounds[3]), ord(bounds[4]))
    step = int(bounds[5] or 1)
    values = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    if not bounds[1]:
        return list(map(chr, values))
    ends = bounds.group(1, 2)
    width = max(map(len, ends)) if any(len(end) > 1 and end[0] == "0" for end in ends) else 0
    return [str(value).zfill(width) for value in values]
