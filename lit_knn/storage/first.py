"""One of many processes writes a file, and all others go by it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lit_knn.storage.atomic import sync, unfinished_name, writing


def write_first(path: Path, text: str) -> None:
    """Write a file, all of it, unless it is there: of any number of processes on any machines, one does.

    Raises:
        WriteError: If the system does not let it be written.
    """
    unfinished = unfinished_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            unfinished.write_text(text)
            sync(unfinished)
            with suppress(FileExistsError):  # a rename would take the other's place
                os.link(unfinished, path)
            sync(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)
