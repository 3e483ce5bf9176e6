"""All of a file or nothing: write under another name, then rename."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def unfinished_name(path: Path) -> Path:
    """Return a name beside ``path`` that no other process or thread takes; it starts with a dot, ends with ``.tmp``."""
    return path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex}.tmp")  # nodes of a cluster share pids


def publish(unfinished: Path, path: Path) -> None:
    """Give a closed file its final name once its bytes have reached the disk; survives a power cut."""
    _sync(unfinished)
    os.replace(unfinished, path)
    _sync(path.parent)


@contextmanager
def sealed(path: Path) -> Iterator[Path]:
    """Yield a name to write to; leaving without an exception makes it ``path``, leaving with one removes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path)
    try:
        yield unfinished
        publish(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
