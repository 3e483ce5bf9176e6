import pytest

from lit_knn.data import Digits, ImageData
from lit_knn.data.base import ArrayShard
from lit_knn.database.building.base import DatabasePass
from lit_knn.errors import UserError


class Reading(DatabasePass):
    def batches(self):
        return self.data.database_batches(self.shards)

    def take(self, batch):
        """Leave it."""


class Lengths(Digits):
    """Digits in shards of these lengths."""

    def __init__(self, lengths):
        super().__init__(split="train")
        self.lengths = lengths

    def shard_names(self):
        return [str(shard) for shard in range(len(self.lengths))]

    def open_shard(self, index):
        if self.lengths[index] is None:
            raise UserError("this shard is damaged")
        shard, start = super().open_shard(0), sum(self.lengths[:index])
        rows = slice(start, start + self.lengths[index])
        return ArrayShard(str(index), shard.keys()[rows], shard._images[rows], shard._labels[rows])


def reading(classifier, database, lengths):
    return Reading(classifier, database, ImageData(queries=Digits(split="test"), database=Lengths(lengths)))


def test_the_first_batch_is_the_first_that_has_an_image(classifier, database):
    batch = reading(classifier, database, [0, 0, 3, 5]).first_batch()
    assert (batch["shard"], len(batch["id"])) == (2, 3)
    assert batch["image"].max() <= 1  # on the device, and in pixels


def test_a_database_without_an_image(classifier, database):
    with pytest.raises(UserError, match="no image"):
        reading(classifier, database, [0, 0]).first_batch()


def test_a_share_that_cannot_be_listed_is_refused_before_any_batch(classifier, database):
    with pytest.raises(UserError, match="this shard is damaged"):
        len(reading(classifier, database, [3, None]).predict_dataloader())
    assert [len(batch["id"]) for batch in reading(classifier, database, [3, 4]).predict_dataloader()] == [3, 4]
