"""Which images of a source are the queries of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lit_knn.data.base import Batch, Failure, ImageSource
from lit_knn.data.batches import WholeBatches
from lit_knn.data.reader import Reader
from lit_knn.data.subset import listed, positions
from lit_knn.errors import UserError, counted


class Chosen(NamedTuple):
    """The queries.

    Attributes:
        starts: Position of the first image of each shard in the whole source, and how many there are in all.
        rows: Of each shard, ascending.
    """

    starts: list[int]
    rows: list[list[int]]

    def ids(self, shard: int) -> list[int]:
        """Return the ids of a shard's queries: positions in the whole source."""
        return [self.starts[shard] + row for row in self.rows[shard]]

    def batches(self, batch_size: int, *, rank: int = 0, world_size: int = 1) -> WholeBatches:
        """Return a process's share of the batches."""
        return WholeBatches(
            range(len(self.rows)),
            lambda shard: (self.rows[shard], self.ids(shard)),
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
        )

    def readable(self, batches: Iterable[Batch]) -> tuple[Chosen, list[Failure]]:
        """Read all of them, and return those that can be read, and the others.

        Raises:
            UserError: If none can.
        """
        failed = [(batch["shard"], failure) for batch in batches for failure in batch["failed"]]
        left_out = {(shard, failure.row) for shard, failure in failed}
        rows = [[row for row in rows if (shard, row) not in left_out] for shard, rows in enumerate(self.rows)]
        failures = [failure for _, failure in failed]
        if not any(rows):
            which = "the only query cannot" if len(failures) == 1 else f"none of the {len(failures):,} queries can"
            raise UserError(f"{which} be read: {examples(failures)}")
        return Chosen(self.starts, rows), failures


def choose(
    source: ImageSource, reader: Reader, *, subset: str | Sequence[str | int] | None, count: int | None, seed: int
) -> Chosen:
    """Open each shard once and choose from all of them.

    Args:
        source: Where the images come from.
        reader: Of this source.
        subset: Ids or names of images, or a file of them; None takes all.
        count: Size of a random subset of these; None takes all.
        seed: Of the random subset.

    Raises:
        UserError: If there are fewer, a name is of none, or something looks like an image and is not read.
    """
    shards = range(len(source.shard_names()))
    lengths, unread = list[int](), list(source.unread())
    for shard in map(reader.shard, shards):
        lengths.append(len(shard))
        unread += shard.unread()
    if unread:
        found = counted(
            len(unread), "that looks like an image of data.queries is", "that look like images of data.queries are"
        )
        raise UserError(f"{found} not read: {examples(unread)}; rename, convert or remove them")

    def keys() -> Iterator[str]:
        for shard in shards:
            yield from reader.shard(shard).keys()

    starts = [0, *np.cumsum(lengths).tolist()]
    chosen = np.arange(starts[-1])
    if subset is not None:
        chosen = positions(listed(subset), keys, len(chosen))
    if count is not None:
        if count > len(chosen):
            found = counted(len(chosen), "query is", "queries are")
            raise UserError(f"data.num_queries is {count}, but only {found} there")
        # NumPy froze this generator: the subset stays the same with any later version
        chosen = np.sort(np.random.RandomState(seed).permutation(chosen)[:count])
    if not len(chosen):
        raise UserError(f"there are 0 queries: data.queries ({type(source).__name__}) has no image that is read")
    borders = np.searchsorted(chosen, starts)
    parts = zip(starts[:-1], borders[:-1], borders[1:], strict=True)
    return Chosen(starts, [(chosen[first:last] - start).tolist() for start, first, last in parts])


def examples(failures: Sequence[Failure]) -> str:
    """Return three names with their reasons."""
    return ", ".join(
        [*(f"{failure.key} ({failure.reason})" for failure in failures[:3]), *("…" for _ in failures[3:4])]
    )
