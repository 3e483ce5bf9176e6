"""Python code that a network's author wrote: what it raises, in one sentence that says where."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from lit_knn.errors import TracedError, UserError, first_line

OTHERS = (Path(torch.__file__).parent, Path(__file__).parents[1])  # PyTorch and this package: lines that say nothing


@contextmanager
def user_code(doing: str, whose: str = "") -> Iterator[None]:
    """Turn whatever is raised within, ``sys.exit`` included, into an error that names file and line.

    Args:
        doing: What the sentence starts with, such as "network NAME cannot be built".
        whose: What a sentence starts with that says already what is wrong, but not where.

    Raises:
        TracedError: With the error as its cause.
        UserError: What was raised as one, with its start.
    """
    try:
        yield
    except TracedError:
        raise
    except UserError as error:
        if not whose:
            raise
        raise UserError(f"{whose}: {error}") from error
    except (Exception, SystemExit) as error:
        if asks_to_stop(error):
            raise
        if str(error).startswith("DataLoader worker"):
            raise  # a signal has ended a process that reads images
        said = f"SyntaxError: {error.msg}" if isinstance(error, SyntaxError) else first_line(error)
        raise TracedError(f"{doing}: {said}{_place(error)}", error) from error


def asks_to_stop(error: BaseException) -> bool:
    """Return whether a signal has asked this process to stop, other than ``sys.exit`` in somebody's code."""
    return isinstance(error, SystemExit) and type(error) is not SystemExit


def _place(error: BaseException) -> str:
    """Return the file and the line of the author's code where an error was raised, as far as it was in any."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(Path(frame.filename).is_relative_to(folder) for folder in OTHERS) and frame.filename[0] != "<"
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
