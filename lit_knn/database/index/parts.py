"""The files of the parts of an index: which rows each has, how it is called, and whether all are there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import cast

from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.sidecar import REMEDY


def part_rows(rows: range, part: Partition) -> range:
    """Return which of some rows of a store make a part of its index: all parts in order are all of them."""
    eighth = cast(range, part.of(range(-(-len(rows) // 8))))  # parts start between the bytes of a `Selection`
    return rows[8 * eighth.start : 8 * eighth.stop]


def part_path(folder: Path, part: Partition) -> Path:
    """Return the file of a part."""
    return folder / f"part-{part.number:05d}-of-{part.count:05d}.faiss"


def named_parts(folder: Path) -> list[tuple[Path, Partition]]:
    """Return the files of parts that are in a folder, in order, whatever is in them."""
    found = []
    for path in sorted(folder.glob("part-*.faiss")):
        match = re.fullmatch(r"part-(\d+)-of-(\d+)\.faiss", path.name)
        if match and 1 <= int(match[1]) <= int(match[2]):
            found.append((path, Partition(int(match[1]), int(match[2]))))
    return found


def sealed_parts(
    folder: Path, expected: Fingerprint, rows: range, check: Callable[[Path, Fingerprint], object]
) -> list[tuple[Path, range]]:
    """Return the files of all parts in order, and the rows of each.

    Args:
        folder: Of the files.
        expected: What is the same in all of them.
        rows: Of all parts together.
        check: Raises a UserError unless a file has the expected entries.

    Raises:
        UserError: If one is missing or not as expected, or there are parts of several cuttings.
    """
    if not (parts := named_parts(folder)):
        raise UserError(f"index {folder} is missing or was never finished; {REMEDY}")
    if len(counts := sorted({part.count for _, part in parts})) > 1:
        cuttings = " and of ".join(f"{count:05d}" for count in counts)
        raise UserError(f"{folder} has parts of several cuttings, of {cuttings}: delete one")
    found = []
    for path, part in parts:
        mine = part_rows(rows, part)
        check(path, {**expected, "rows": [mine.start, mine.stop]})
        found.append((path, mine))
    if len(parts) < counts[0]:
        names = ", ".join(path.stem for path, _ in parts)
        raise UserError(f"{folder} has not all parts of the index, but {names}; {REMEDY} for the others")
    return found
