from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lit_knn.data import ImageData, ImageSource
from lit_knn.data.base import ArrayShard
from lit_knn.data.batches import Rows, WholeBatches
from lit_knn.data.reader import Reader
from lit_knn.data.sources.digits import Digits
from lit_knn.errors import UserError


class Counting(Digits):
    """Nine shards; counts how often one is opened."""

    opened = 0

    def shard_names(self) -> list[str]:
        return list("abcdefghi")

    def open_shard(self, index: int) -> ArrayShard:
        del index
        self.opened += 1
        return super().open_shard(0)


def test_reader_keeps_only_the_last_shards() -> None:
    source = Counting(split="test")
    reader = Reader(source, None)
    for index in (0, 0, 1, 1, 0, 2, 3):
        reader.shard(index)
    assert source.opened == 4
    reader.shard(4)  # drops shard 0
    reader.shard(1)
    assert source.opened == 5
    reader.shard(0)
    assert source.opened == 6


def deal(rank: int, world_size: int, lengths: tuple[int, ...] = (5, 1, 4), done: Collection[int] = ()) -> WholeBatches:
    def rows(shard: int) -> tuple[range, range]:
        return range(lengths[shard]), range(100 * shard, 100 * shard + lengths[shard])

    return WholeBatches(range(len(lengths)), rows, batch_size=2, rank=rank, world_size=world_size, done=done)


def test_batches_end_with_their_shard() -> None:
    assert list(deal(0, 1)) == [
        Rows(0, [0, 1], [0, 1]),
        Rows(0, [2, 3], [2, 3]),
        Rows(0, [4], [4]),
        Rows(1, [0], [100]),
        Rows(2, [0, 1], [200, 201]),
        Rows(2, [2, 3], [202, 203]),
    ]


def test_batch_b_goes_to_rank_b_mod_w() -> None:
    everything = list(deal(0, 1))
    for world_size in (1, 2, 4, 7):
        for rank in range(world_size):
            sampler = deal(rank, world_size)
            assert list(sampler) == everything[rank::world_size]
            assert len(sampler) == len(everything[rank::world_size])
            assert sampler.total == 6


@pytest.mark.parametrize("done", [[], [0], [5], [1, 2, 4], range(6)])
def test_batches_that_are_done_are_left_out_and_the_others_dealt(done: Collection[int]) -> None:
    everything = list(deal(0, 1))
    left = [batch for batch in range(6) if batch not in done]
    for world_size in (1, 2, 4, 7):
        for rank in range(world_size):
            sampler = deal(rank, world_size, done=done)
            assert sampler.numbers == left[rank::world_size]
            assert list(sampler) == [everything[batch] for batch in sampler.numbers]
            assert len(sampler) == len(sampler.numbers)
            assert sampler.total == 6


class Own(ImageSource):
    """Somebody's own source."""

    def __init__(self, *images: NDArray[np.generic]) -> None:
        self.images = images

    def shard_names(self) -> list[str]:
        return ["s"]

    def open_shard(self, index: int) -> ArrayShard:
        count = len(self.images)
        return ArrayShard("s", list(map(str, range(count))), self.images, np.zeros(count, np.int64))  # type: ignore[arg-type]

    def identity(self) -> str:
        return "own"


FLOATS = np.random.default_rng(0).random((2, 6, 6, 3))


def test_floats_travel_as_they_are() -> None:
    module = ImageData(queries=Own(*FLOATS))
    (batch,) = map(module.on_after_batch_transfer, module.test_dataloader())
    assert batch["image"].dtype == torch.float32
    np.testing.assert_array_equal(batch["image"], FLOATS.transpose(0, 3, 1, 2).astype(np.float32))


@pytest.mark.parametrize("workers", [0, 1])
def test_pixels_that_are_none_are_refused_whoever_gives_them(workers: int) -> None:
    with pytest.raises(
        UserError, match=r"^1 of shard s, which Own gives, is float64 \(6, 6, 1\): accepted are encoded"
    ):
        list(ImageData(queries=Own(FLOATS[0], FLOATS[1, ..., :1]), num_workers=workers).test_dataloader())
    with pytest.raises(
        UserError, match=r"^1 of shard s: its pixels reach from .* to 255: accepted are floats in \[0, 1"
    ):
        list(
            ImageData(queries=Own(FLOATS[0], FLOATS[0] * 255 / FLOATS[0].max()), num_workers=workers).test_dataloader()
        )
    with pytest.raises(UserError, match="0 is uint8 or float and 1 is not"):
        list(
            ImageData(queries=Own((FLOATS[0] * 255).astype(np.uint8), FLOATS[1]), num_workers=workers).test_dataloader()
        )


class Labeled(Digits):
    """Digits that all have one label."""

    def __init__(self, label: Any) -> None:
        super().__init__(split="test")
        self._label = label

    def open_shard(self, index: int) -> Any:
        shard = super().open_shard(index)
        read = shard.read
        shard.read = lambda row: replace(read(row), label=self._label)  # type: ignore[method-assign]
        return shard


@pytest.mark.parametrize("label", [1.7, 1.0, "3", None, -2, 1 << 63, np.float32(2)])
def test_a_label_that_is_no_class_is_refused_of_any_source(label: Any) -> None:
    source = Labeled(label)
    with pytest.raises(
        UserError, match=r"digits/\d+ of shard digits-test has the label .*: accepted are whole numbers"
    ):
        list(ImageData(queries=source, database=source).database_batches([0]))


@pytest.mark.parametrize("label", [0, 7, np.uint8(7), np.int32(-1)])
def test_whole_numbers_are_labels(label: Any) -> None:
    source = Labeled(label)
    batch = next(iter(ImageData(queries=source, database=source, batch_size=2).database_batches([0])))
    assert batch["label"].dtype == torch.int64
    assert batch["label"].tolist() == [label, label]
