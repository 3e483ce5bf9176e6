"""What was built over the first shards of a store, before it had the others, and is good for it still."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lit_knn.database.store import Store
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.sidecar import checked, recorded


def merged_path(folder: Path, shards: int) -> Path:
    """Return the file of all rows of the first shards of a store."""
    return folder / f"merged-{shards:06d}.faiss"


def as_of(path: Path, origin: Fingerprint, store: Store) -> Fingerprint:
    """Return the origin that a file has if it was made from the first shards of a store, before it had the others.

    Args:
        path: Of the file; one that says nothing of the kind is held to the whole store.
        origin: Of what is made from the whole store.
        store: The store.
    """
    then = recorded(path).get("store")
    return {**origin, "store": then} if then in store.prefixes else origin


class Earlier(NamedTuple):
    """An index of the first shards of a store.

    Attributes:
        path: Its file.
        origin: What its sidecar says.
        rows: Of these shards.
        lacking: How many shards the store has besides.
    """

    path: Path
    origin: Fingerprint
    rows: range
    lacking: int


def earlier_index(folder: Path, origin: Fingerprint, store: Store) -> Earlier | None:
    """Return the merged index of the most of a store's shards, but not of all; None if there is none.

    Args:
        folder: Of the files.
        origin: What it would depend on if it were of the whole store.
        store: The store.
    """
    shards = {checksum: number for number, checksum in enumerate(store.prefixes, 1)}
    found = []
    for path in folder.glob("merged-*.faiss"):
        then = as_of(path, origin, store)
        if lacking := len(shards) - shards[then["store"]]:
            with suppress(UserError):  # of another origin, or cut
                checked(path, then)
                found.append(Earlier(path, then, range(store.prefixes[then["store"]]), lacking))
    return min(found, key=lambda one: one.lacking, default=None)
