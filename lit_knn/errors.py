"""What a user can mend."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_sentence(speaker: str) -> Iterator[None]:
    """End the process with one line on standard error, instead of a traceback, for what a user can mend: code 2.

    The same for what is no fault of this process, but of another one of the run: code 1.

    Args:
        speaker: What the line starts with.
    """
    try:
        yield
    except (UserError, ProcessError) as error:
        sys.stderr.write(f"{speaker}: {' '.join(str(error).split())}\n")
        raise SystemExit(error.code) from error


class UserError(ValueError):
    """Input that the user can mend: the message says what is wrong, where, and what is accepted.

    The command line prints it as one line and exits with 2; everything else is a bug and keeps its traceback.
    """

    code = 2


class TracedError(UserError):
    """What code of the user's own has raised.

    Args:
        message: One sentence.
        cause: What was raised.
    """

    def __init__(self, message: str, cause: BaseException) -> None:
        super().__init__(message)
        self.traceback = "".join(traceback.format_exception(cause))

    def kept_in(self, folder: Path) -> UserError:
        """Write the traceback into ``error.log`` of a folder, and return the error that says so."""
        path = folder / "error.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(self.traceback, encoding="utf-8", errors="replace")
        except OSError:  # the sentence alone is worth more than one about the folder
            return self
        return UserError(f"{self}; the traceback is in {path}")


class DamageError(UserError):
    """A file is missing, damaged or not the one that belongs there: whoever can make it anew may do so."""


class WriteError(UserError):
    """A file cannot be written: the disk is full, or the folder is not the user's."""


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says, without the colors of a terminal."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip()
    return ": ".join(filter(None, (type(error).__name__, *text.splitlines()[:1])))


def counted(count: int, one: str, more: str) -> str:
    """Return a number with what is counted, such as ``1 query is`` or ``2 queries are``."""
    return f"{count:,} {one if count == 1 else more}"


INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT


class ProcessError(RuntimeError):
    """Another process of the run has failed, which says why itself, or was killed and cannot."""

    code = 1
