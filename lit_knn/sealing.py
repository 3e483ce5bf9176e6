"""All of a file or nothing: write under another name, then rename."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lit_knn.errors import WriteError


def unfinished_name(path: Path) -> Path:
    """Return a name beside ``path`` that no other process or thread takes, and that tells whose it is.

    It starts with a dot and ends with ``.tmp``.
    """
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex}.tmp")


def publish(unfinished: Path, path: Path) -> None:
    """Give a closed file its final name once its bytes have reached the disk; survives a power cut."""
    _sync(unfinished)
    os.replace(unfinished, path)
    _sync(path.parent)


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """Yield a name to write to; leaving without an exception makes it ``path``, leaving with one removes it.

    Raises:
        WriteError: If the system does not let it be written.
    """
    unfinished = unfinished_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            publish(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)


def seal_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays as one ``.npz``, all of it or nothing.

    Raises:
        WriteError: If the system does not let it be written.
    """
    with sealed(path) as unfinished, unfinished.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one sentence that ``path`` cannot be written, and why.

    Raises:
        WriteError: Instead of the system's error: no space left, no permission, a read-only file system.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise WriteError(f"{path} cannot be written: {reason}") from error


def unfinished_files(folder: Path) -> list[Path]:
    """Return what writers that were killed, or are still at it, have in a folder."""
    return sorted(folder.glob(".*.tmp"))


def remove_abandoned(folder: Path) -> None:
    """Remove unfinished files whose writers have certainly ended; of other machines nobody here can tell."""
    for path in unfinished_files(folder):
        match = re.search(r"\.([0-9a-f]+)-(\d+)-[0-9a-f]+\.tmp$", path.name)
        if match and match[1] == _machine() and not _is_running(int(match[2])):
            path.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """Name what process ids are unique in: a host since it was started, or a container in it."""
    facts = [socket.gethostname()]
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if boot.exists() and namespace.is_symlink():  # Linux
        facts += [boot.read_text().strip(), os.readlink(namespace)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
