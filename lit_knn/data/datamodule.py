"""The data module: queries to attack, a database to search."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Literal, TypeAlias

import pytorch_lightning as pl
import torch
from torch import Tensor

from lit_knn.data.base import Batch, Failure, ImageSource, ShardedImages
from lit_knn.data.batches import BatchDataset, BatchLoader, WholeBatches
from lit_knn.data.pixels import unit
from lit_knn.data.preprocessing import Preprocessing
from lit_knn.data.queries import Chosen, choose, examples
from lit_knn.data.reader import Reader
from lit_knn.errors import UserError, counted

log = logging.getLogger(__name__)

Which: TypeAlias = Literal["queries", "database"]
LARGEST_SEED = 2**32 - 1  # NumPy's
LISTED_SHARDS = 16  # at least so many are counted to say how many images a database has


class ImageData(pl.LightningDataModule):
    """Queries and database, in exact batches for any number of processes and workers.

    Args:
        queries: The images to attack and classify; each needs a label.
        database: The images whose features are searched; null where no defense retrieves any.
        preprocessing: Resize and crop, for both; null where all images have the network's size.
        batch_size: Images per batch and process.
        num_workers: Processes that read and decode, beside each main process.
        query_subset: The queries of a run, if not all images of their source: ids (positions in the source, from 0) or
            names of images, as a list or a text file with one per line; as other benchmarks publish theirs.
        num_queries: Size of a random subset of the queries; null takes all.
        query_seed: Seed of this subset.
        on_error: What a database image that cannot be read does: ``raise``, or ``skip`` (and be listed).
        on_query_error: The same for queries, and those that are black everywhere, to which no perturbation is
            relative; ``skip`` reads all of them once before the first is attacked, to know which are left out.
        allow_overlap: Go on, with a warning, where queries are known to be images of the database.

    Attributes:
        black_queries: Whether black ones are queries as well; to be set before the first one is read.
        left_out: The queries that ``on_query_error: skip`` leaves out, once they have been read.
        warnings: What to know before the numbers are believed, in full sentences.
    """

    def __init__(
        self,
        *,
        queries: ImageSource,
        database: ImageSource | None = None,
        preprocessing: Preprocessing | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        query_subset: str | list[str | int] | None = None,
        num_queries: int | None = None,
        query_seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
        on_query_error: Literal["raise", "skip"] = "raise",
        allow_overlap: bool = False,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("num_queries", 1 if num_queries is None else num_queries, 1),
        ):
            if value < least:
                raise UserError(f"data.{name} is {value}: accepted are {least} and more")
        if not 0 <= query_seed <= LARGEST_SEED:
            raise UserError(f"data.query_seed is {query_seed}: accepted are 0 to {LARGEST_SEED}")
        for name, choice in (("on_error", on_error), ("on_query_error", on_query_error)):
            if choice not in ("raise", "skip"):
                raise UserError(f"data.{name} is {choice!r}: accepted are raise and skip")
        self.queries, self.database, self.preprocessing = queries, database, preprocessing
        self.batch_size, self.num_workers, self.black_queries = batch_size, num_workers, False
        self.query_subset, self.num_queries, self.query_seed = query_subset, num_queries, query_seed
        self.on_error, self.on_query_error, self.allow_overlap = on_error, on_query_error, allow_overlap
        self.left_out: list[Failure] = []
        self.warnings: list[str] = []
        self._taken: ShardedImages | None = None
        self._readers: dict[ShardedImages, Reader] = {}

    @property
    def database_source(self) -> ShardedImages:
        """The source of the database, or what a database has taken of it.

        Raises:
            UserError: If the configuration has none.
        """
        if self.database is None:
            raise UserError("the configuration has no data.database")
        return self._taken or self.database

    def take(self, source: ShardedImages) -> None:
        """Let the database's images be these of its source, from now on."""
        self._taken = source
        vars(self).pop("about_database_rows", None)

    @property
    def num_queries_total(self) -> int:
        """Number of queries of a run, over all processes."""
        return sum(map(len, self.chosen.rows))

    def query_identity(self) -> str:
        """Return what the queries of a run are: their source, and which of its images."""
        ids = self.expected_query_ids().numpy().tobytes()
        return f"{self.queries.identity()}, ids {hashlib.sha256(ids).hexdigest()[:16]}"

    def expected_query_ids(self) -> Tensor:
        """Return the id of each query of a run, ``(N,)`` int64, ascending: a run has to see each once."""
        return torch.tensor([i for shard in range(len(self.chosen.rows)) for i in self.chosen.ids(shard)])

    def test_dataloader(self) -> BatchLoader:
        """Return this process's batches of queries; their ids are positions in the whole source.

        Raises:
            UserError: If there are fewer batches than processes.
        """
        return self._query_batches(*((self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)))

    def _query_batches(self, rank: int, world_size: int) -> BatchLoader:
        sampler = self.chosen.batches(self.batch_size, rank=rank, world_size=world_size)
        if sampler.total < world_size:
            raise UserError(
                f"{counted(self.num_queries_total, 'query makes', 'queries make')} "
                f"{counted(sampler.total, 'batch', 'batches')} of {self.batch_size}, too few for "
                f"{world_size} processes: use fewer processes or a smaller data.batch_size"
            )
        dataset = BatchDataset(self._reader("queries"), skip=False, queries=True, black=self.black_queries)
        return self._loader(dataset, sampler)

    def database_batches(
        self, shards: Sequence[int], *, stride: int = 1, rank: int = 0, world_size: int = 1, done: Collection[int] = ()
    ) -> BatchLoader:
        """Return batches of the database; their ids are rows of their shard.

        Args:
            shards: Indices into the names of the source's shards.
            stride: Take every stride-th row of each shard.
            rank: Which share of the batches.
            world_size: Number of shares.
            done: Numbers of batches to leave out before the others are shared.
        """
        reader = self._reader("database")

        def rows(shard: int) -> tuple[range, range]:
            chosen = range(0, len(reader.shard(shard)), stride)
            return chosen, chosen

        sampler = WholeBatches(shards, rows, batch_size=self.batch_size, rank=rank, world_size=world_size, done=done)
        return self._loader(BatchDataset(reader, skip=self.on_error == "skip", queries=False), sampler)

    def num_rows(self, shard: int) -> int:
        """Return the length of a shard of the database, readable images and others."""
        return len(self._reader("database").shard(shard))

    def unread(self, shard: int) -> Sequence[Failure]:
        """Return what looks like an image of a shard of the database and has no row in it."""
        return self._reader("database").shard(shard).unread()

    def verify_disjoint(self) -> None:
        """Refuse queries that are images of the database, as far as that is known without reading them.

        Raises:
            UserError: If some are, unless that is allowed.
        """
        shared = "" if self.database is None else self.queries.shared(self.database)
        if not shared:
            return
        sentence = f"data.queries are images of data.database, where retrieval finds them again: {shared}"
        if not self.allow_overlap:
            raise UserError(f"{sentence}; take others, or set data.allow_overlap: true")
        self._warn(sentence)

    def warn_of_losses(self, skipped: Sequence[Failure] = ()) -> None:
        """Warn of what is not in the database although it is, or looks like, an image or a shard of images.

        Args:
            skipped: What its shards have left out, as far as they have been read.
        """
        if lost := [*self.database_source.unread(), *skipped]:
            which = counted(len(lost), "that looks like an image is", "that are images, or look like some, are")
            self._warn(f"{which} not in the database: {examples(lost)}")

    @cached_property
    def about_database_rows(self) -> int:
        """Number of images of the database, estimated from a few of many shards: listing ten thousand takes hours."""
        count = len(self.database_source.shard_names())
        listed = range(0, count, max(1, count // LISTED_SHARDS))
        return round(sum(map(self.num_rows, listed)) * count / len(listed))

    def first_queries(self) -> Batch:
        """Return the first batch of a run, whatever the number of processes."""
        return next(iter(self._query_batches(0, 1)))

    def first_images(self, device: torch.device) -> Batch:
        """Return the same as a test step meets it: float32 in [0, 1], on a device."""
        return self.on_after_batch_transfer(self.transfer_batch_to_device(self.first_queries(), device, 0))

    @property
    def class_names(self) -> list[str]:
        """Names of the queries' classes in the order of the labels; empty if unknown."""
        return self.queries.class_names or []

    def image(self, source: Which, shard: int, row: int) -> Tensor:
        """Read one image again, see `Reader.image`."""
        return self._reader(source).image(shard, row)

    def images(self, source: Which, shards: Sequence[int], rows: Sequence[int]) -> list[Tensor]:
        """Read several again, see `Reader.images`."""
        return self._reader(source).images(shards, rows)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int = 0) -> Batch:
        """Turn uint8 images into float32 in [0, 1], on the device: a quarter of the bytes travel."""
        del dataloader_idx
        return {**batch, "image": unit(batch["image"])}

    def _warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            if self.trainer is None or self.trainer.global_rank == 0:
                log.warning("%s", sentence)

    def _reader(self, source: Which) -> Reader:
        images: ShardedImages = self.queries if source == "queries" else self.database_source
        return self._readers.setdefault(images, Reader(images, self.preprocessing))

    def _loader(self, dataset: BatchDataset, sampler: WholeBatches) -> BatchLoader:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return BatchLoader(dataset, sampler, num_workers=self.num_workers, pin_memory=on_gpu)

    @cached_property
    def chosen(self) -> Chosen:
        """Which images the queries of a run are."""
        reader = self._reader("queries")
        chosen = choose(self.queries, reader, subset=self.query_subset, count=self.num_queries, seed=self.query_seed)
        if self.on_query_error == "skip":
            dataset = BatchDataset(reader, skip=True, queries=True, black=self.black_queries)
            chosen, self.left_out = chosen.readable(self._loader(dataset, chosen.batches(self.batch_size)))
        if self.left_out:
            self._warn(f"{counted(len(self.left_out), 'query is', 'queries are')} left out: {examples(self.left_out)}")
        return chosen
