"""All of a file or nothing: write under another name, then rename."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
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


def publish(unfinished: Path, path: Path, *, first: bool = False) -> None:
    """Give a closed file its final name once its bytes have reached the disk; survives a power cut.

    Args:
        unfinished: Its name now.
        path: Its final name.
        first: Leave a file that has it as it is, where a rename would take its place. ``unfinished`` then stays.
    """
    _sync(unfinished)
    with suppress(FileExistsError):
        (os.link if first else os.replace)(unfinished, path)
    _sync(path.parent)


@contextmanager
def atomic_write(path: Path, *, first: bool = False) -> Iterator[Path]:
    """Yield a name to write to; leaving without an exception makes it ``path``, leaving with one removes it.

    Args:
        path: What is written, and its folder, if that is not there.
        first: Leave a ``path`` that is there: of any number of processes on any machines, one writes it.

    Raises:
        WriteError: If the system does not let it be written.
    """
    unfinished = unfinished_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield unfinished
            publish(unfinished, path, first=first)
        finally:
            unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, first: bool = False) -> Path:
    """Write a file in UTF-8, all of it or nothing, and return its path; see `atomic_write`.

    Raises:
        WriteError: If the system does not let it be written.
    """
    with atomic_write(path, first=first) as unfinished:
        unfinished.write_bytes(text.encode())
    return path


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays as one ``.npz``, all of it or nothing; a file that holds just these is left as it is.

    Raises:
        WriteError: If the system does not let it be written.
    """
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    with writing(path):
        if path.is_file() and path.read_bytes() == content.getvalue():
            return
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content.getvalue())


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
    """Remove unfinished files and folders whose writers have certainly ended; of other machines nobody can tell."""
    for path in unfinished_files(folder):
        match = re.search(r"\.([0-9a-f]+)-(\d+)-[0-9a-f]+\.tmp$", path.name)
        if match and match[1] == _machine() and not _is_running(int(match[2])):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)  # another process may be at it
            else:
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
    with suppress(PermissionError):  # it is another user's
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
