"""What a large file belongs to, in a small one beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_knn.errors import UserError
from lit_knn.storage.atomic import atomic_write, write_text
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference, from_text, to_text
from lit_knn.storage.reading import undamaged

REMEDY = "run `lit-knn index`"
CHANGED = f"index {{}} has changed since it was sealed; {REMEDY} again"
PIECE, PIECES = 1 << 16, 32  # bytes and number of what tells a file from others


def describe_file(path: Path) -> Path:
    """Return the name of a file's sidecar."""
    return path.with_name(f"{path.name}.json")


def identity(path: Path) -> Fingerprint:
    """Return size and SHA-256 of a file, and a hash of samples that tells it from others without reading all of it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest, "sample": _sample(path)}


@contextmanager
def described(path: Path, description: Callable[[], Fingerprint]) -> Iterator[Path]:
    """Yield a name to write to; leaving without an exception seals the file, then its sidecar.

    Args:
        path: The final name.
        description: Called when all is written; ``lists`` may have names and identities of files beside it.
    """
    sidecar = describe_file(path)
    with atomic_write(path) as unfinished:
        yield unfinished
        entries = {"lists": {}, **description(), **identity(unfinished)}
        text = to_text(entries)
        sidecar.unlink(missing_ok=True)  # never beside a file that it does not describe
    write_text(sidecar, text)


def recorded(path: Path) -> Fingerprint:
    """Return what a file's sidecar says, which need not be true of it; nothing, if there is none or it is damaged."""
    try:
        return from_text(describe_file(path).read_bytes())
    except (OSError, ValueError):
        return {}


def is_described(path: Path, expected: Fingerprint) -> bool:
    """Read a file, and return whether it is there, has the expected entries, and is what was sealed."""
    try:
        whole(path, expected)
    except UserError:
        return False  # it will be written again
    return True


def checked(path: Path, expected: Fingerprint) -> Fingerprint:
    """Return what is known of a file; of the file itself, only its size and a few samples are compared.

    Args:
        path: Of the file.
        expected: Entries of its sidecar.

    Raises:
        UserError: If it is missing, cut or another file, or does not have the expected entries.
    """
    sidecar = describe_file(path)
    if not (path.exists() and sidecar.exists()):
        raise UserError(f"index {path} is missing or was never finished; {REMEDY}")
    with undamaged(sidecar, f"{REMEDY} again"):
        found = from_text(sidecar.read_bytes())
        files = _files(path, found)
    if difference := fingerprint_difference(expected, {name: found[name] for name in expected if name in found}):
        raise UserError(f"index {path} is of another origin: {difference}; {REMEDY} again")
    for part, sealed_as in files:
        size = part.stat().st_size if part.exists() else 0
        if size != sealed_as["size"]:
            raise UserError(f"index {part} has {size} of {sealed_as['size']} bytes; {REMEDY} again")
        if _sample(part) != sealed_as["sample"]:
            raise UserError(CHANGED.format(part))
    return found


def whole(path: Path, expected: Fingerprint) -> Fingerprint:
    """Do what `checked` does, and compare every byte.

    Raises:
        UserError: Also if it has changed since it was sealed.
    """
    found = checked(path, expected)
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


def _files(path: Path, description: Fingerprint) -> list[tuple[Path, Fingerprint]]:
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
