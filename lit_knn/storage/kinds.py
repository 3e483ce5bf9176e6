"""What records, caches and origins call a class, wherever its module lies; no PyTorch."""

from __future__ import annotations

from typing import Any

OURS = "lit_knn"


def is_ours(part: Any) -> bool:
    """Return whether a class or function is of this package."""
    return str(part.__module__).partition(".")[0] == OURS


def kind(part: type) -> str:
    """Return the kind of a class: see `named_kind`."""
    return named_kind(f"{part.__module__}.{part.__qualname__}")


def named_kind(path: str) -> str:
    """Return the kind of the class with an import path: its name if it is of this package, the whole path otherwise.

    YAML calls it the same. No two classes of this package that YAML can name, or networks are made of, have the same.

    Example:
        >>> named_kind("lit_knn.attacks.pgd.PGD"), named_kind("PGD"), named_kind("mine.PGD")
        ('PGD', 'PGD', 'mine.PGD')
    """
    return path.rpartition(".")[2] if path.startswith(f"{OURS}.") else path
