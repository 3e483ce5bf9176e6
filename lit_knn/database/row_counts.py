"""How many rows a setting asks for: a number, a share, or all."""

from __future__ import annotations

from lit_knn.errors import UserError

ROW_COUNTS = "whole numbers from 1, shares in (0, 1) and null for all"


def require_row_count(name: str, size: float | None) -> None:
    """Refuse what is neither a whole number from 1, nor a share in (0, 1), nor None for all.

    Raises:
        UserError: If it is none of these, or 1.0, which may be one row or all of them.
    """
    if isinstance(size, float) and size == 1:
        raise UserError(f"{name} is 1.0, which may be one row or all of them: write 1, or null for all")
    if size is not None and not (0 < size < 1 or (size >= 1 and size == int(size))):
        raise UserError(f"{name} is {size}; {ROW_COUNTS} are accepted")


def row_counts(name: str, sizes: float | list[float | None] | None) -> list[float | None]:
    """Return one size or several as a list, each of which `require_row_count` lets pass.

    Raises:
        UserError: If one is refused, or there is none.
    """
    found = sizes if isinstance(sizes, list) else [sizes]
    if not found:
        raise UserError(f"{name} is empty; {ROW_COUNTS} are accepted")
    for size in found:
        require_row_count(name, size)
    return found


def row_count(size: float | None, whole: int) -> int:
    """Return how many of so many rows that is, at least 1 of a share; it may be more than there are."""
    if size is None:
        return whole
    return int(size) if size >= 1 else max(1, round(size * whole))
