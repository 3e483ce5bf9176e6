"""How many rows of a database a configuration means; apart from the database, so that a report needs no PyTorch."""

from __future__ import annotations


def view_size(wanted: float, stored: int) -> int:
    """Return ``wanted`` rows, or that share of the ``stored`` ones if it is below 1: at least one.

    Example:
        >>> view_size(200, 1297), view_size(0.5, 1297), view_size(0.0001, 1297)
        (200, 648, 1)
    """
    return int(wanted) if wanted >= 1 else max(1, round(wanted * stored))
