"""What a caller gives, held to what is accepted: numbers of any library, and one part where there may be several."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from lit_knn.errors import UserError

LONGEST = 80  # letters of what is given, in a message


def plain(given: Any) -> Any:
    """Return numbers and strings of PyTorch and NumPy as those of Python, arrays as lists, and all else as it is."""
    return given.tolist() if isinstance(given, Tensor | np.ndarray | np.generic) else given


def shown(given: object) -> str:
    """Return what is given in one short line, for messages."""
    if isinstance(given, type):
        return f"the class {given.__name__}"
    text = " ".join(reprlib.repr(plain(given)).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def whole(given: object, name: str, least: int, most: int) -> int:
    """Return a whole number of any library.

    Args:
        given: The number.
        name: The argument that it is given as.
        least: The smallest that is accepted.
        most: The largest.

    Raises:
        UserError: If it is none, or out of range.
    """
    number = plain(given)
    if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
        raise UserError(f"{name} is {shown(given)}: whole numbers from {least} to {most} are accepted")
    return number


def is_number(given: object) -> bool:
    """Return whether it is a number of Python: True and False are none."""
    return isinstance(given, int | float) and not isinstance(given, bool)


def several(given: Any, name: str, kinds: tuple[type, ...], accepted: str) -> list[Any]:
    """Return a part, or those of a list, tuple, array or any other row of parts, as a list.

    Args:
        given: One part, or a row of them.
        name: The argument that they are given as.
        kinds: What a part may be. True and False are no numbers.
        accepted: The same in words, as the end of a sentence, such as ``sizes are numbers``.

    Raises:
        UserError: If there is none, or one is of no such kind.
    """
    given = plain(given)
    alone = not isinstance(given, Iterable) or isinstance(given, (str, bytes, Mapping, type, *kinds))
    parts = [given] if alone else list(given)
    for part in parts:
        if not isinstance(plain(part), kinds) or isinstance(part, bool):
            raise UserError(f"{name} {'is' if alone else 'has'} {shown(part)}: {accepted}")
    if not parts:
        raise UserError(f"{name} is empty: {accepted}, at least one")
    return [plain(part) for part in parts]
