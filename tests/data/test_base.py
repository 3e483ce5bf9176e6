import numpy as np
import pytest

from lit_knn.data import Digits
from lit_knn.data.base import ArrayShard, ImageSource
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


class Own(ImageSource):
    """A source of a user's own."""

    def __init__(self, class_names: list[str] | None) -> None:
        self._names = class_names

    @property
    def class_names(self) -> list[str] | None:
        return self._names

    def shard_names(self) -> list[str]:
        return []

    def open_shard(self, index: int) -> ArrayShard:
        raise NotImplementedError

    def identity(self) -> str:
        return ""


@pytest.mark.parametrize("source", [Own(list("abc")), Digits(split="test")])
def test_named_classes_have_to_be_all_of_the_networks(source: ImageSource) -> None:
    assert source.class_names is not None
    count = len(source.class_names)
    assert not source.label_problem(count)
    for other in (count - 1, count + 1, 1000):
        assert f"{count} classes, but the network has {other:,}" in source.label_problem(other)


def test_a_source_without_names_may_have_any_numbers() -> None:
    assert not Own(None).label_problem(7)


def test_labels_in_memory_are_integers() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(UserError, match="labels of shard x are float64: accepted are integers"):
        ArrayShard("x", ["a", "b"], images, np.array([0.5, 1.7]))  # type: ignore[arg-type]
    assert ArrayShard("x", ["a", "b"], images, [3, 4]).read(1).label == 4  # type: ignore[arg-type]
