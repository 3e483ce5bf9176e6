import numpy as np
import pytest

from lit_knn.data.base import ArrayShard
from lit_knn.errors import UserError


def test_a_shard_in_memory_gives_back_its_rows():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    shard = ArrayShard("name", ["a", "b"], images, np.array([7, -1]))
    assert (len(shard), shard.name, list(shard.keys())) == (2, "name", ["a", "b"])
    sample = shard.read(1)
    assert (sample.key, sample.label) == ("b", -1)
    np.testing.assert_array_equal(sample.image, images[1])


@pytest.mark.parametrize(("keys", "images", "labels"), [(1, 2, 2), (2, 1, 2), (2, 2, 3)])
def test_lengths_that_differ(keys: int, images: int, labels: int) -> None:
    with pytest.raises(UserError, match=f"shard x has {keys} keys, {images} images and {labels} labels"):
        ArrayShard("x", ["a"] * keys, np.zeros((images, 4, 4, 3), np.uint8), np.zeros(labels, np.int64))
