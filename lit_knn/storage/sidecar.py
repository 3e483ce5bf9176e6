"""What a large file belongs to, in a small one beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write, load_json, undamaged

Description = dict[str, Any]
REMEDY = "run `lit-knn index`"
CHANGED = f"index {{}} has changed since it was sealed; {REMEDY} again"
FORM: Description = {"size": int, "sha256": str, "sample": str}
PIECE, PIECES = 1 << 16, 32  # bytes and number of what tells a file from others


def describe_file(path: Path) -> Path:
    """Return the name of a file's sidecar."""
    return path.with_name(f"{path.name}.json")


def identity(path: Path) -> Description:
    """Return size and SHA-256 of a file, and a hash of samples that tells it from others without reading all of it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest, "sample": _sample(path)}


@contextmanager
def described(path: Path, description: Callable[[], Description]) -> Iterator[Path]:
    """Yield a name to write to; leaving without an exception seals the file, then its sidecar.

    Args:
        path: The final name.
        description: Called when all is written; ``lists`` may have names and identities of files beside it.
    """
    sidecar = describe_file(path)
    with atomic_write(path) as unfinished:
        yield unfinished
        entries = {"lists": {}, **description(), **identity(unfinished)}
        text = json.dumps(entries, indent=1, sort_keys=True) + "\n"
        sidecar.unlink(missing_ok=True)  # never beside a file that it does not describe
    with atomic_write(sidecar) as unfinished:
        unfinished.write_text(text)


def is_described(path: Path, expected: Description) -> bool:
    """Read a file, and return whether it is there, has the expected entries, and is what was sealed."""
    try:
        whole(path, expected)
    except UserError:
        return False  # it will be written again
    return True


def checked(path: Path, expected: Description, form: Description | None = None) -> Description:
    """Return what is known of a file; of the file itself, only its size and a few samples are compared.

    Args:
        path: Of the file.
        expected: Entries of its sidecar.
        form: What else is read of it, see `lit_knn.storage.atomic.parse_json`.

    Raises:
        UserError: If it is missing, cut or another file, or does not have the expected entries.
    """
    sidecar = describe_file(path)
    if not (path.exists() and sidecar.exists()):
        raise UserError(f"index {path} is missing or was never finished; {REMEDY}")
    found: Description = load_json(sidecar, f"{REMEDY} again", FORM | {"lists": {str: FORM}} | (form or {}))
    if name := next((name for name, value in expected.items() if found.get(name) != value), ""):
        if name in ("store", "training"):
            raise UserError(f"index {path} is of another {name}; {REMEDY} again")
        raise UserError(f"index {path} has {name} {found.get(name)!r}, not {expected[name]!r}; {REMEDY} again")
    with undamaged(sidecar, f"{REMEDY} again"):
        files = _files(path, found)
    for part, sealed_as in files:
        size = part.stat().st_size if part.exists() else 0
        if size != sealed_as["size"]:
            raise UserError(f"index {part} has {size} of {sealed_as['size']} bytes; {REMEDY} again")
        if _sample(part) != sealed_as["sample"]:
            raise UserError(CHANGED.format(part))
    return found


def whole(path: Path, expected: Description, form: Description | None = None) -> Description:
    """Do what `checked` does, and compare every byte.

    Raises:
        UserError: Also if it has changed since it was sealed.
    """
    found = checked(path, expected, form)
    for part, sealed_as in _files(path, found):
        if identity(part)["sha256"] != sealed_as["sha256"]:
            raise UserError(CHANGED.format(part))
    return found


def changed_files(folder: Path) -> Iterator[str]:
    """Yield a sentence for each file of a folder that is not what its sidecar says."""
    for sidecar in sorted(folder.rglob("*.faiss.json")):
        try:
            whole(sidecar.with_suffix(""), {})
        except UserError as error:
            yield str(error)


def _files(path: Path, description: Description) -> list[tuple[Path, Description]]:
    """Return a file and those beside it that belong to it, and what is known of each."""
    return [(path, description), *((path.with_name(name), part) for name, part in description["lists"].items())]


def _sample(path: Path) -> str:
    """Return a hash of evenly spaced pieces of a file, the first and last of which are its ends."""
    digest, last = hashlib.sha256(), max(0, path.stat().st_size - PIECE)
    with path.open("rb") as file:
        for number in range(PIECES):
            file.seek(number * last // (PIECES - 1))
            digest.update(file.read(PIECE))
    return digest.hexdigest()
