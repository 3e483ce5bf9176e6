"""What tells one line of the results from another; apart from the defenses, so that a report needs no PyTorch."""

from __future__ import annotations

from typing import NamedTuple


class Variant(NamedTuple):
    """One line of the results: a defense and what distinguishes its variants."""

    defense: str
    tap: str = ""
    k: int | str = ""
    weighting: str = ""
    combination: str = ""
