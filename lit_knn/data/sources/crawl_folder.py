"""What img2dataset writes beside its shards: which of them are finished, and how many addresses gave no image.

    00000.tar           the images; written from its beginning, as they come
    00000.parquet       a row for each address
    00000_stats.json    how many came; written when the other two are closed
    _tmp/               what is still to be done, while it runs and after it was killed

References:
    https://github.com/rom1504/img2dataset, version 1.47.0
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

STATS, RUNNING = "_stats.json", "_tmp"


def has_not_finished(paths: Sequence[Path]) -> Collection[Path]:
    """Return the tar files that img2dataset is writing, or was when it was ended.

    Those are the numbered ones without statistics, in a folder where others have some or that it is at work in. Tar
    files without anything of the kind beside them are not its own, or were copied alone.

    Args:
        paths: Of tar files.
    """
    unfinished: set[Path] = set()
    for folder in {path.parent for path in paths}:
        beside = {path.name for path in folder.iterdir()}
        if RUNNING in beside or any(name.endswith(STATS) for name in beside):
            mine = (path for path in paths if path.parent == folder and path.stem.isdecimal())
            unfinished |= {path for path in mine if path.stem + STATS not in beside}
    return unfinished


@dataclass(frozen=True)
class Downloads:
    """What became of addresses.

    Attributes:
        tried: How many there were.
        lost: How many of them were not downloaded: not found, too slow, refused.
        unusable: How many gave something that is no image, or of a size that was not wanted.
    """

    tried: int = 0
    lost: int = 0
    unusable: int = 0

    @classmethod
    def beside(cls, paths: Sequence[Path]) -> Downloads:
        """Add up the statistics beside tar files; what cannot be read tells nothing."""
        fields = ("count", "failed_to_download", "failed_to_resize")
        found = [counts for path in paths if (counts := _counts(path.with_name(path.stem + STATS), fields))]
        return cls(*map(sum, zip(*found, strict=True)))

    def __str__(self) -> str:
        """Return a clause, empty if there were none."""
        if not self.tried:
            return ""
        return (
            f"of {self.tried:,} addresses, img2dataset could not download {self.lost:,} and could not use what "
            f"{self.unusable:,} gave"
        )


def _counts(path: Path, fields: Sequence[str]) -> list[int]:
    try:
        found = json.loads(path.read_bytes())
        return [int(found[field]) for field in fields]
    except (OSError, ValueError, KeyError, TypeError):
        return []
