"""Which images of a source a list names, by position or by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lit_knn.data.sources.label_file import image_name
from lit_knn.data.sources.regular_files import read_regular
from lit_knn.errors import UserError

_ACCEPTED = "accepted are one id or name of an image per line"


def listed(subset: str | Sequence[str | int]) -> list[str]:
    """Return the entries of a list, or of a text file with one per line.

    Raises:
        UserError: If there is none, one comes twice, or the file cannot be read.
    """
    try:
        lines = _lines(subset) if isinstance(subset, str) else subset
    except (OSError, ValueError) as error:
        raise UserError(f"data.query_subset {subset} cannot be read ({error}): {_ACCEPTED}") from error
    entries = [entry for line in lines if (entry := str(line).strip())]
    if not entries:
        raise UserError(f"data.query_subset {subset} is empty: {_ACCEPTED}")
    return entries


def _lines(path: str) -> list[str]:
    return read_regular(Path(path).expanduser()).decode("utf-8-sig").splitlines()


def positions(entries: Sequence[str], keys: Callable[[], Iterable[str]], count: int) -> NDArray[np.int64]:
    """Return the positions of the images of a list, ascending.

    Whole numbers without leading zeros are positions, counted from 0. Others are names: a path, the end of one, or a
    path that ends with the source's own, with or without the extension of an image.

    Args:
        entries: What the list names.
        keys: Gives the key of each image, in order; asked only for names.
        count: How many images there are.

    Raises:
        UserError: If an entry names no image or several, or two name the same.
    """
    if all(re.fullmatch("0|[1-9][0-9]{0,17}", entry) for entry in entries):
        found = [int(entry) for entry in entries]
        if (largest := max(found)) >= count:
            raise UserError(
                f"data.query_subset has the id {largest}, but the {count:,} queries go from 0 to {count - 1}"
            )
    else:
        found = _by_name(entries, keys())
    seen: dict[int, str] = {}
    for entry, position in zip(entries, found, strict=True):
        if position in seen:
            raise UserError(f"data.query_subset names one image twice: {seen[position]!r} and {entry!r}")
        seen[position] = entry
    return np.sort(np.array(found, np.int64))


def _by_name(entries: Sequence[str], keys: Iterable[str]) -> list[int]:
    wanted = {_base(entry) for entry in entries}
    alike: dict[str, list[tuple[str, int]]] = {}
    some = ""
    for position, key in enumerate(keys):
        some = some or key
        if (base := _base(key)) in wanted:
            alike.setdefault(base, []).append((key, position))
    found: list[int] = []
    for entry in entries:
        matches = _matches(entry, alike.get(_base(entry), []))
        if len(matches) != 1:
            what = f"is none of the queries, which are called like {some!r}"
            if matches:
                what = f"may be {matches[0][0]!r} and {matches[1][0]!r}: give more of its path"
            raise UserError(f"data.query_subset has {entry!r}, which {what}")
        found.append(matches[0][1])
    return found


def _matches(entry: str, alike: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the images that an entry names: exactly, else but for an extension, else by the end of a path."""
    name = image_name(entry)
    return (
        [pair for pair in alike if pair[0] == entry]
        or [pair for pair in alike if image_name(pair[0]) == name]
        or [pair for pair in alike if f"/{name}".endswith(f"/{image_name(pair[0])}")]
        or [pair for pair in alike if f"/{image_name(pair[0])}".endswith(f"/{name}")]
    )


def _base(path: str) -> str:
    return image_name(path).rpartition("/")[2]
