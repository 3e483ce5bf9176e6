import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lit_knn.defenses import GridCrop, Query, RandomCrop, TransformedClassifier, Variant
from lit_knn.errors import UserError
from lit_knn.randomness import Randomness

IDS = torch.tensor([3, 1, 4, 15, 9])


def drawn(count, seed=0):
    return Randomness(seed, torch.arange(count), "transformation")


def places(image, seen, height, width):
    """Return all corners (row, column) of parts of an image that are what was seen, once enlarged."""
    size = tuple(image.shape[1:])
    return [
        (top, left)
        for top in range(size[0] - height + 1)
        for left in range(size[1] - width + 1)
        if torch.allclose(
            F.interpolate(image[None, :, top : top + height, left : left + width], size, mode="bilinear")[0], seen
        )
    ]


@pytest.mark.parametrize(
    ("shape", "size", "part"), [((8, 8), 0.5, (4, 4)), ((6, 9), 0.4, (2, 4)), ((5, 5), 1.0, (5, 5))]
)
def test_a_random_crop_is_a_part_of_its_own_image_enlarged_to_the_whole(shape, size, part):
    image = torch.rand(40, 3, *shape, dtype=torch.float64)
    found = RandomCrop(size=size)(image, drawn(40))
    assert found.shape == image.shape
    corners = [places(*pair, *part) for pair in zip(image, found, strict=True)]
    assert all(len(corner) == 1 for corner in corners)
    assert len({corner for (corner,) in corners}) > 1 or size == 1


def test_each_corner_is_as_likely_as_any_other():
    image = torch.arange(16.0).view(1, 1, 4, 4).expand(2000, 1, 4, 4)
    found = RandomCrop(size=0.5)(image, drawn(2000))
    smallest = found.amin(dim=(1, 2, 3)).long()  # the corner's number
    counts = np.bincount(smallest.numpy(), minlength=16).reshape(4, 4)[:3, :3]
    assert counts.sum() == 2000
    assert np.abs(counts - 2000 / 9).max() < 4.5 * np.sqrt(2000 / 9)


def test_the_default_is_ninety_pixels_of_224_and_as_much_of_any_other_size():
    for side, part in ((224, 90), (32, 13), (299, 120)):
        ramp = torch.arange(side, dtype=torch.float64).view(1, 1, 1, side).expand(1, 1, side, side)
        found = RandomCrop()(ramp, drawn(1))
        assert found.max() - found.min() == part - 1


def test_nothing_is_rounded_to_eight_bits_and_the_gradient_is_the_true_one():
    image = torch.rand(3, 3, 9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda image: RandomCrop(size=0.6)(image, drawn(3)), image)
    small = 1e-6 * torch.rand(3, 3, 9, 7, dtype=torch.float64)
    difference = RandomCrop()(image + small, drawn(3)) - RandomCrop()(image, drawn(3))
    torch.testing.assert_close(difference, RandomCrop()(small, drawn(3)), rtol=1e-6, atol=1e-12)


def test_the_grid_has_nine_places_from_edge_to_edge():
    image = torch.rand(1, 3, 9, 11, dtype=torch.float64)
    crop = GridCrop(size=0.5)
    found = [crop(image, drawn(1).of("transformation", draw)) for draw in range(9)]
    corners = [place for seen in found for place in places(image[0], seen[0], 4, 6)]
    assert corners == [(top, left) for top in (0, 2, 5) for left in (0, 2, 5)]


def test_the_grid_is_averaged_over_all_of_its_places_by_default(classifier, data):
    image = torch.stack([data.image("queries", 0, row) for row in range(4)]).float() / 255
    defense = TransformedClassifier(transformation=GridCrop(size=0.75))
    query = Query(image, classifier, randomness=Randomness(0, torch.arange(4)))
    parts = [
        F.interpolate(image[:, :, top : top + 6, left : left + 6], (8, 8), mode="bilinear")
        for top in (0, 1, 2)
        for left in (0, 1, 2)
    ]
    expected = torch.stack([classifier(part).softmax(1) for part in parts]).mean(0)
    torch.testing.assert_close(defense(query)[0].exp(), expected, rtol=1e-4, atol=1e-6)
    assert defense.variants == [Variant("grid crop ×9")]
    assert not defense.random


def test_more_draws_than_places_are_refused():
    with pytest.raises(UserError, match="draws: 10, but grid crop is not random: at most 9 are accepted"):
        TransformedClassifier(transformation=GridCrop(), draws=10)


@pytest.mark.parametrize("kind", [RandomCrop, GridCrop])
def test_crops_without_a_pixel_are_refused(kind):
    with pytest.raises(UserError, match=f"{kind.__name__} takes 0.402 of each side, less than half a pixel of .* 1×30"):
        kind()(torch.rand(1, 3, 1, 30), drawn(1))
    for size in (0, 1.1):
        with pytest.raises(UserError, match="a share above 0 and at most 1 is accepted"):
            kind(size=size)


@pytest.mark.parametrize("kind", [RandomCrop, GridCrop])
def test_gray_and_constant_images_are_right(kind):
    for value in (0.0, 0.3):
        image = torch.full((2, 1, 8, 8), value)
        torch.testing.assert_close(kind()(image, drawn(2)), image)
