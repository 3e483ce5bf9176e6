"""What a database takes of images that go on coming: all that are there, once those before are in its store."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from lit_knn.data import ImageData
from lit_knn.database.database import Database
from lit_knn.database.store import read_manifest
from lit_knn.errors import DamageError, counted

log = logging.getLogger(__name__)


def take_shards(database: Database, data: ImageData, *, later: bool = True) -> None:
    """Let the database have the shards that have come, in all processes the same ones.

    Those that came before have to be in the store: else all parts go on with these, and the others wait for the next
    extraction.

    Args:
        database: Whose.
        data: Gives the images.
        later: Whether also if it has some already.
    """
    arrivals = database.recognize(data)
    taken = len(data.database_source.shard_names())
    if arrivals.groups and not (later and arrivals.new and listed_shards(database) == taken):
        return
    arrivals.take_new()
    now = database.recognize(data)
    for group in now.groups[max(1, len(arrivals.groups)) :]:
        came = counted(len(group), "shard has", "shards have")
        log.info(
            "%s come: %s; PCA stays that of the first %d", came, some(name for name, _ in group), len(now.groups[0])
        )


def some(names: Iterable[str]) -> str:
    """Return the first three names."""
    shown = list(names)
    return ", ".join(shown[:3]) + ", …" * (len(shown) > 3)


def listed_shards(database: Database) -> int:
    """Return how many shards the manifest of the store lists; none where it is missing or damaged."""
    try:
        return len(read_manifest(database.store_path / "manifest.json")["shards"])
    except DamageError:
        return 0
