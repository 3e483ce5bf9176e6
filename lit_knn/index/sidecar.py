"""What a large file belongs to, in a small one beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_knn.errors import UserError
from lit_knn.sealing import sealed

Description = dict[str, Any]
REMEDY = "run `lit-knn index`"


def describe_file(path: Path) -> Path:
    """Return the name of a file's sidecar."""
    return path.with_name(f"{path.name}.json")


@contextmanager
def described(path: Path, description: Callable[[], Description]) -> Iterator[Path]:
    """Yield a name to write to; leaving without an exception seals the file, then its sidecar.

    Args:
        path: The final name.
        description: Called when all is written.
    """
    sidecar = describe_file(path)
    with sealed(path) as unfinished:
        yield unfinished
        entries = {**description(), "size": unfinished.stat().st_size, "sha256": _hash(unfinished)}
        text = json.dumps(entries, indent=1, sort_keys=True) + "\n"
        if sidecar.exists() and sidecar.read_text() != text:
            sidecar.unlink()  # never beside a file that it does not describe
    with sealed(sidecar) as unfinished:
        unfinished.write_text(text)


def is_described(path: Path, expected: Description) -> bool:
    """Return whether a file is there, complete, and has the expected entries."""
    try:
        found = json.loads(describe_file(path).read_bytes())
        return path.stat().st_size == found["size"] and not _difference(expected, found)
    except (FileNotFoundError, ValueError, KeyError):
        return False  # it will be written again


def checked(path: Path, expected: Description) -> Description:
    """Return what is known of a file.

    Raises:
        UserError: If it is missing, cut, or does not have the expected entries.
    """
    try:
        found: Description = json.loads(describe_file(path).read_bytes())
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise UserError(f"index {path} is missing or was never finished; {REMEDY}") from error
    except ValueError as error:
        raise UserError(f"{describe_file(path)} is damaged ({error}); {REMEDY} again") from error
    if name := _difference(expected, found):
        if name in ("store", "training"):
            raise UserError(f"index {path} is of another {name}; {REMEDY} again")
        raise UserError(f"index {path} has {name} {found.get(name)!r}, not {expected[name]!r}; {REMEDY} again")
    if size != found["size"]:
        raise UserError(f"index {path} has {size} of {found['size']} bytes; {REMEDY} again")
    return found


def changed_files(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file of a folder that is not what its sidecar says."""
    for sidecar in sorted(folder.rglob("*.faiss.json")):
        path = sidecar.with_suffix("")
        try:
            if checked(path, {})["sha256"] != _hash(path):
                yield f"index {path} has changed since it was sealed; {REMEDY} again"
        except UserError as error:
            yield str(error)


def _difference(expected: Description, found: Description) -> str:
    """Return the first entry that is not as expected, "" if there is none."""
    return next((name for name, value in expected.items() if found.get(name) != value), "")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
