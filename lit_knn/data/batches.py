"""Whole batches, in an order that neither processes nor workers can change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lit_knn.data.base import Batch, Failure
from lit_knn.data.decoding import ImageError
from lit_knn.data.reader import Reader
from lit_knn.errors import UserError


class Rows(NamedTuple):
    """The rows of one batch, all of one shard, and the id of each."""

    shard: int
    rows: list[int]
    ids: list[int]


class BatchDataset(Dataset["Batch | UserError"]):
    """Its items are whole batches. A `UserError` is an item, too: raised in a worker, it would lose its one sentence.

    Args:
        reader: Where images come from.
        skip: Leave unreadable images out and list them in the batch; otherwise the first one is an error.
        queries: An image without label is an error; one that is black everywhere counts as unreadable.
        black: Unless it is a query as any other.
    """

    def __init__(self, reader: Reader, *, skip: bool, queries: bool, black: bool = False) -> None:
        self._reader, self._skip, self._queries, self._black = reader, skip, queries, black

    def __getitem__(self, index: Rows) -> Batch | UserError:
        try:
            return self._read(index)
        except UserError as error:
            return error

    def _read(self, index: Rows) -> Batch:
        shard = self._reader.shard(index.shard)
        images: list[Tensor] = []
        labels, ids, keys, failed = list[int](), list[int](), list[str](), list[Failure]()
        for row, sample_id in zip(index.rows, index.ids, strict=True):
            key = shard.keys()[row]
            try:
                sample, image = self._reader.read(index.shard, row)
                if self._queries and not self._black and not bool(image.any()):
                    raise ImageError("every pixel is zero, and the size of a perturbation is relative to their norm")
            except ImageError as error:
                if not self._skip:
                    option = "on_query_error" if self._queries else "on_error"
                    remedy = f"data.{option}: skip leaves it out"
                    raise UserError(f"{key} of shard {shard.name}: {error}; {remedy}") from error
                failed.append(Failure(row, key, str(error)))
                continue
            label = _whole(sample.label, f"{key} of shard {shard.name}")
            if self._queries and label < 0:
                raise UserError(
                    f"{key} of shard {shard.name} has no label, which queries need: {self._reader.labels_from}"
                )
            _verify_alike([*keys[:1], key], [*images[:1], image])
            images.append(image)
            labels.append(label)
            ids.append(sample_id)
            keys.append(key)
        return Batch(
            image=torch.stack(images) if images else torch.empty(0, 3, 0, 0, dtype=torch.uint8),  # (N, 3, H, W)
            label=torch.tensor(labels, dtype=torch.int64),
            id=torch.tensor(ids, dtype=torch.int64),
            shard=index.shard,
            key=keys,
            failed=failed,
        )


def _whole(label: Any, where: str) -> int:
    """Return the label that a source gives, which may be anybody's.

    Raises:
        UserError: If it is no class and not −1: PyTorch would cut 1.7 to 1.
    """
    if not isinstance(label, (int, np.integer)) or not -1 <= label < 1 << 63:
        raise UserError(
            f"{where} has the label {label!r}: accepted are whole numbers from 0, and -1 where it is unknown"
        )
    return int(label)


def _verify_alike(keys: Sequence[str], images: Sequence[Tensor]) -> None:
    """Refuse images that do not go into one batch.

    Raises:
        UserError: If sizes or dtypes differ.
    """
    if len({image.shape for image in images}) > 1:
        sizes = " and ".join(f"{key} ({i.shape[1]}×{i.shape[2]})" for key, i in zip(keys, images, strict=True))
        raise UserError(f"images of one batch differ in size, {sizes}: set data.preprocessing, resize and crop")
    if len({image.dtype for image in images}) > 1:
        raise UserError(f"{keys[0]} is uint8 or float and {keys[1]} is not: accepted is one of the two for all images")


class WholeBatches(Sampler[Rows]):
    """Cuts shards into batches that never cross a border and deals them out whole: the b-th to rank b mod W.

    So the composition of a batch, and with it the rounding of a convolution, is the same for any number of processes.

    Args:
        shards: Which shards, in this order.
        rows: What to take of a shard, and the ids of it; called when a shard's turn comes.
        batch_size: Rows of a batch; the last one of a shard may be smaller.
        rank: This process.
        world_size: Number of processes.
        done: Numbers of batches that are left out before the others are dealt.
    """

    def __init__(
        self,
        shards: Sequence[int],
        rows: Callable[[int], tuple[Sequence[int], Sequence[int]]],
        *,
        batch_size: int,
        rank: int,
        world_size: int,
        done: Collection[int] = (),
    ) -> None:
        self._shards, self._rows, self._batch_size = shards, rows, batch_size
        self._done = frozenset(done)
        self._rank, self._world_size = rank, world_size
        self._batches: int | None = None

    @property
    def total(self) -> int:
        """Number of batches of all processes together; it opens each shard once."""
        if self._batches is None:
            self._batches = sum(-(-len(self._rows(shard)[0]) // self._batch_size) for shard in self._shards)
        return self._batches

    @property
    def numbers(self) -> list[int]:
        """Which of all batches these are."""
        return [batch for batch in range(self.total) if batch not in self._done][self._rank :: self._world_size]

    def __len__(self) -> int:
        return len(range(self._rank, self.total - len(self._done), self._world_size))

    def __iter__(self) -> Iterator[Rows]:
        batch = left = 0
        for shard in self._shards:
            rows, ids = self._rows(shard)
            for start in range(0, len(rows), self._batch_size):
                if batch not in self._done:
                    if left % self._world_size == self._rank:
                        stop = start + self._batch_size
                        yield Rows(shard, list(rows[start:stop]), list(ids[start:stop]))
                    left += 1
                batch += 1


class BatchLoader:
    """Iterates over batches that a `DataLoader` reads, and raises the errors that its workers hand over.

    Not a `DataLoader` itself, so that no Trainer rebuilds it with a sampler of its own.

    Args:
        dataset: Whole batches.
        sampler: Their rows.
        num_workers: Number of processes that read; 0 reads in this one.
        pin_memory: Speed up the way to a GPU.
    """

    def __init__(self, dataset: BatchDataset, sampler: WholeBatches, *, num_workers: int, pin_memory: bool) -> None:
        self._sampler = sampler
        self._loader: DataLoader[Batch | UserError] = DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # the global generator stays as it is
        )

    @property
    def numbers(self) -> list[int]:
        """Which of all processes' batches these are."""
        return self._sampler.numbers

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            if isinstance(batch, UserError):
                raise batch
            yield batch


def _as_it_is(batch: object) -> object:
    return batch
