import numpy as np

from lit_knn.data.base import ArrayShard


def test_a_shard_in_memory_gives_back_its_rows():
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    shard = ArrayShard("name", ["a", "b"], images, np.array([7, -1]))
    assert (len(shard), shard.name, list(shard.keys())) == (2, "name", ["a", "b"])
    sample = shard.read(1)
    assert (sample.key, sample.label) == ("b", -1)
    np.testing.assert_array_equal(sample.image, images[1])
