"""Patches come from all rows, and each place of an image is drawn once."""

import numpy as np
import pytest
import torch

from lit_knn.database.patches.drawing import draw_patches
from lit_knn.errors import UserError


class Images:
    """A database of images of any sizes, each pixel of which tells row, place and channel."""

    def __init__(self, *sizes, first=0):
        self.ids = torch.arange(first, first + len(sizes))
        self.sizes, self.first, self.read = sizes, first, []

    def __len__(self):
        return len(self.sizes)

    def images(self, ids):
        row = int(ids)
        self.read.append(row)
        height, width = self.sizes[row - self.first]
        numbers = torch.arange(3 * height * width).view(1, 1, 3, height, width)
        return (1000 * row + numbers).float()


def drawn(images, **settings):
    return draw_patches(images, **{"count": 40, "size": 5, "per_image": 4, "seed": 0} | settings)


def origins(patches, images, size=5):
    """Return row, top and left of each patch, which is compared with what is there."""
    found = []
    for patch in patches.reshape(len(patches), 3, size, size):
        row = int(patch[0, 0, 0] // 1000)
        height, width = images.sizes[row - images.first]
        top, left = divmod(int(patch[0, 0, 0] - 1000 * row), width)
        image = 1000 * row + np.arange(3 * height * width).reshape(3, height, width)
        assert np.array_equal(patch, image[:, top : top + size, left : left + size])
        found.append((row, top, left))
    return found


def test_each_is_a_patch_of_an_image_and_none_is_drawn_twice():
    images = Images(*[(9, 11), (8, 8), (7, 30)] * 10)
    patches = drawn(images, count=100, per_image=10)
    found = origins(patches, images)
    assert patches.dtype == np.float32
    assert len({*found}) == 100
    assert len(images.read) == len({*images.read}) == 10
    assert max(images.read) > 20


def test_few_images_give_more_each_about_as_many():
    images = Images(*[(10, 10)] * 7, first=50)
    counts = np.bincount([row - 50 for row, *_ in origins(drawn(images), images)])
    assert sorted(counts) == [5, 5, 6, 6, 6, 6, 6]


def test_all_places_are_taken_where_as_many_are_wanted():
    images = Images((7, 6), (7, 6))
    found = origins(drawn(images, count=12, per_image=6), images)
    assert {*found} == {(row, top, left) for row in (0, 1) for top in range(3) for left in range(2)}


def test_places_are_uniform_over_rows_and_images():
    images = Images(*[(6, 6)] * 4000)
    rows, tops, lefts = np.array(origins(drawn(images, count=2000, per_image=1), images)).T
    for found, bins in ((tops, 2), (lefts, 2), (rows // 400, 10)):
        counts = np.bincount(found, minlength=bins)
        assert abs(counts - 2000 / bins).max() < 5 * (2000 / bins) ** 0.5


def test_the_seed_decides():
    images = Images(*[(9, 9)] * 30)
    assert np.array_equal(drawn(images), drawn(images))
    assert not np.array_equal(drawn(images), drawn(images, seed=1))


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (Images(), "the database has no rows"),
        (
            Images((4, 20)),
            r"40 patches of 5×5 pixels .* row 0 .* image of 4×20 pixels has 0: lower count, per_image or size",
        ),
        (Images((7, 7), first=3), r"row 3 .* image of 7×7 pixels has 9: lower count, per_image or size"),
    ],
)
def test_too_few_or_too_small_images_are_told(images, sentence):
    with pytest.raises(UserError, match=sentence):
        drawn(images)
