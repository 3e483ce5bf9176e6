"""What a user can mend."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_sentence(speaker: str) -> Iterator[None]:
    """End the process with code 2 and one line on standard error, instead of a traceback, for what a user can mend.

    Args:
        speaker: What the line starts with.
    """
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"{speaker}: {' '.join(str(error).split())}\n")
        raise SystemExit(2) from error


class UserError(ValueError):
    """Input that the user can mend: the message says what is wrong, where, and what is accepted.

    The command line prints it as one line and exits with 2; everything else is a bug and keeps its traceback.
    """


class WriteError(UserError):
    """A file cannot be written: the disk is full, or the folder is not the user's."""


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says, without the colors of a terminal."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip()
    return ": ".join(filter(None, (type(error).__name__, *text.splitlines()[:1])))
