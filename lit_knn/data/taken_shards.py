"""A source as a database has it: the shards that it has taken, in the order in which they came."""

from __future__ import annotations

from collections.abc import Sequence

from lit_knn.data.base import Failure, Shard, ShardedImages, identity_of
from lit_knn.data.classes import Classes


class TakenShards(ShardedImages):
    """Some shards of a source that may get more, under numbers of their own.

    It is what it was at first, however many shards have come since: what is made from it goes on being of one origin.

    Args:
        source: Whose.
        order: Which of its shards, by their number there.
        first: How many of these there were at first.
    """

    def __init__(self, source: ShardedImages, order: Sequence[int], first: int) -> None:
        self._source, self._order, self._first = source, list(order), first
        self.labels_from = source.labels_from

    @property
    def found_classes(self) -> Classes | None:
        """Those of the source."""
        return self._source.found_classes

    @property
    def class_names(self) -> list[str] | None:
        """Those of the source."""
        return self._source.class_names

    def label_problem(self, num_classes: int) -> str:
        """Return that of the source."""
        return self._source.label_problem(num_classes)

    def unread(self) -> Sequence[Failure]:
        """Return what the source does not read."""
        return self._source.unread()

    def remark(self) -> str:
        """Return that of the source."""
        return self._source.remark()

    def shard_names(self) -> list[str]:
        """Return the names of the shards that have been taken."""
        names = self._source.shard_names()
        return [names[shard] for shard in self._order]

    def open_shard(self, index: int) -> Shard:
        """List one of them."""
        return self._source.open_shard(self._order[index])

    def shard_identities(self) -> list[str]:
        """Return what each of them is."""
        known = self._source.shard_identities() or []
        return [known[shard] for shard in self._order]

    def identity(self) -> str:
        """Return that of a source that has nothing but the first ones."""
        return identity_of(type(self._source), self.shard_identities()[: self._first])
