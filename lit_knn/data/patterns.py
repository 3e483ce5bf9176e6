"""Which files a pattern in a configuration means."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from lit_knn.errors import UserError


def local_files(patterns: Iterable[str | Path], *, kind: str, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files that patterns name, in the order of the patterns, each pattern's own sorted.

    ``{000..123}`` and ``{a,b}`` stand for all their values, and each of them has to exist; a folder, ``*`` and ``?``
    stand for whatever of these suffixes is there, so that what lies beside it does not disturb.

    Args:
        patterns: Paths or patterns; ``~`` is the home.
        kind: What messages call such a file.
        suffixes: The suffixes that a folder or a wildcard finds.

    Raises:
        UserError: If there is no pattern, or one finds nothing.
    """
    paths: list[Path] = []
    for pattern in (part for given in patterns for part in _expand(os.path.expanduser(given))):
        if os.path.isfile(pattern):
            paths.append(Path(pattern))
            continue
        if os.path.isdir(pattern):
            pattern = os.path.join(glob.escape(pattern), "*")
        found = sorted(name for name in glob.glob(pattern) if name.endswith(suffixes) and os.path.isfile(name))
        if not found:
            raise UserError(
                f"no {kind} file matches {pattern}: accepted are local files, named {' or '.join(suffixes)} if a "
                "folder or a wildcard is to find them"
            )
        paths += map(Path, found)
    return paths


def _expand(pattern: str) -> list[str]:
    """Expand ``{000..123}`` and ``{a,b}`` as a shell would."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    bounds = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    choices = match[1].split(",")
    if bounds:
        choices = [str(number).zfill(len(bounds[1])) for number in range(int(bounds[1]), int(bounds[2]) + 1)]
    return [path for choice in choices for path in _expand(pattern[: match.start()] + choice + pattern[match.end() :])]
