"""What the files of a folder depend on, in a file beside them."""

from __future__ import annotations

from pathlib import Path

from lit_knn.errors import UserError
from lit_knn.storage.atomic import write_text
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference, from_text, to_text
from lit_knn.storage.reading import undamaged

ORIGIN_FILE = "origin.json"


def claim(folder: Path, origin: Fingerprint, *, other: str, remedy: str, damage: str) -> None:
    """Write what the files of a folder depend on, or hold them to it.

    Args:
        folder: Created if it does not exist.
        origin: What they depend on.
        other: What a folder of another origin is, such as "is of another case".
        remedy: What to do about one, an imperative.
        damage: What to do about a damaged file, an imperative.

    Raises:
        UserError: If the folder cannot be written, or is of another origin.
    """
    path = folder / ORIGIN_FILE
    if not path.exists():
        write_text(path, to_text(origin))
    with undamaged(path, damage):
        found = from_text(path.read_bytes())
    if difference := fingerprint_difference(origin, found):
        raise UserError(f"{folder} {other}: {difference}; {remedy}")
