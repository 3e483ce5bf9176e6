"""Which shards of a source a database has taken, in the order in which they came.

    folder/shards/000000.json    those that were there at first, which PCA is fitted on
    folder/shards/000001.json    those that had come since, when a later extraction began

A shard of the store has the number that its source shard has here, so that no row ever moves: what comes late, under a
name that is sorted between others, goes to the end. Each file is written once, by whichever process is the first to
look, and is what all others go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lit_knn.data import Failure
from lit_knn.data.base import ShardedImages
from lit_knn.data.taken_shards import TakenShards
from lit_knn.errors import UserError
from lit_knn.storage.atomic import write_text
from lit_knn.storage.fingerprint import from_text, to_text
from lit_knn.storage.reading import conform, undamaged


@dataclass(frozen=True)
class Arrivals:
    """What a database has taken of a source, as it is written now.

    Attributes:
        folder: Of the files.
        source: Whose shards they are. One that cannot tell a shard from another is taken whole, and nothing is written.
        groups: Name and identity of each shard, in groups that came together; none before the first extraction.
    """

    folder: Path
    source: ShardedImages
    groups: Sequence[Sequence[tuple[str, str]]]

    @classmethod
    def read(cls, folder: Path, source: ShardedImages) -> Arrivals:
        """Read the files of a folder, which may not be there.

        Raises:
            UserError: If one is missing or damaged, or names a shard that the source does not have any more.
        """
        groups = []
        growing = source.shard_identities() is not None
        for number in range(sum(1 for _ in folder.glob("[0-9]*.json")) if growing else 0):
            path = _file(folder, number)
            with undamaged(path, "put it back, or delete the whole database and extract again"):
                conform(found := from_text(path.read_bytes()), {"shards": [[str]]}, "content")
                groups.append([(name, identity) for name, identity in found["shards"]])
        arrivals = cls(folder, source, groups)
        arrivals._places  # noqa: B018 - refuses shards that are gone
        return arrivals

    @property
    def taken(self) -> ShardedImages:
        """The source as the database has it, or as it is where nothing has been taken."""
        return TakenShards(self.source, self._places[0], len(self.groups[0])) if self.groups else self.source

    @property
    def new(self) -> list[str]:
        """The names of the shards that have come since."""
        names = self.source.shard_names()
        return [names[shard] for shard in self._places[1]] if self.groups else []

    def late(self, stored: int) -> list[Failure]:
        """Return which shards are not in a store of so many shards, and why.

        Args:
            stored: How many shards it has; any number where nothing has been taken.
        """
        names = [name for group in self.groups for name, _ in group][stored:]
        begun = [Failure(-1, name, "`lit-knn extract` has begun with it and not ended") for name in names]
        return [*begun, *(Failure(-1, name, "it came after the last `lit-knn extract`") for name in self.new)]

    def take_new(self) -> None:
        """Write that the shards which have come are taken from now on; another process may be the first to do so.

        Raises:
            WriteError: If the system does not let it be written.
        """
        identities, names = self.source.shard_identities(), self.source.shard_names()
        came = self._places[1]
        if identities is not None and came:
            text = to_text({"shards": [[names[shard], identities[shard]] for shard in came]})
            write_text(_file(self.folder, len(self.groups)), text, first=True)

    @cached_property
    def _places(self) -> tuple[list[int], list[int]]:
        """The numbers in the source of the shards that have been taken, in order, and those of all others."""
        names, places = self.source.shard_names(), dict[str, list[int]]()
        for shard, identity in enumerate(self.source.shard_identities() or []):
            places.setdefault(identity, []).append(shard)  # copies of one another are as good as each other
        order = []
        for name, identity in (shard for group in self.groups for shard in group):
            if not places.get(identity):
                what = "is not what it was (its file, or `classes:`)" if name in names else "is gone"
                raise UserError(
                    f"shard {name} of data.database {what}, but {self.folder.parent} was begun with it: put it back, "
                    "or name another model.database.path"
                )
            order.append(places[identity].pop(0))
        return order, sorted(shard for left in places.values() for shard in left)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"
