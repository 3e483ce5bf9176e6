"""Seams against all that there are, tried one by one, patch after patch in raster order."""

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from lit_knn.defenses.transformations.seams import joined, kept, squared_error

BOTH = [(False, False), (False, True), (True, False), (True, True)]


def paths(length, width, first=None):
    """Yield the offsets of each seam along a strip."""
    for path in product(range(width), repeat=length):
        if first in (None, path[0]) and all(abs(one - other) <= 1 for one, other in pairwise(path)):
            yield path


def strip_cut(error, first=None):
    """Return the least error of a seam along a strip (S, O), and which seam has it."""
    return min((sum(error[i, path[i]] for i in range(len(path))), path) for path in paths(*error.shape, first))


def old_pixels(error, overlap, has_upper, has_left):
    """Return the least error of a seam and the pixels (S, S) before it."""
    size = len(error)
    left, upper = error[:, :overlap], error[:overlap].T
    old = np.zeros((size, size), bool)
    if has_left and has_upper:
        found = []
        for d in range(overlap):
            (down, left_path), (across, upper_path) = (strip_cut(strip[d:], first=d) for strip in (left, upper))
            found.append((down + across - error[d, d], d, left_path, upper_path))
        total, d, left_path, upper_path = min(found)
        old[:d, :d] = True
        for i, offset in enumerate(left_path, d):
            old[i, :offset] = True
        for j, offset in enumerate(upper_path, d):
            old[:offset, j] = True
        return total, old
    total = 0.0
    if has_left:
        total, path = strip_cut(left)
        for i, offset in enumerate(path):
            old[i, :offset] = True
    if has_upper:
        total, path = strip_cut(upper)
        for j, offset in enumerate(path):
            old[:offset, j] = True
    return total, old


def laid(patches, overlap):
    """Return the image (3, H, W) that patches (A, B, 3, S, S) make, one after the other."""
    rows, columns, _, size, _ = patches.shape
    step = size - overlap
    image = np.zeros((3, size + (rows - 1) * step, size + (columns - 1) * step))
    for a, b in product(range(rows), range(columns)):
        place = image[:, a * step : a * step + size, b * step : b * step + size]
        error = ((place - patches[a, b]) ** 2).sum(axis=0)
        old = old_pixels(error, overlap, a > 0, b > 0)[1]
        place[:] = np.where(old, place, patches[a, b])
    return image


@pytest.mark.parametrize(("size", "overlap"), [(5, 2), (5, 1), (2, 1), (6, 3), (7, 3)])
@pytest.mark.parametrize(("has_upper", "has_left"), BOTH)
def test_a_seam_is_the_least_of_all(size, overlap, has_upper, has_left):
    generator = torch.Generator().manual_seed(size + overlap)
    error = torch.rand(2, 3, size, size, generator=generator, dtype=torch.float64)
    flags = (torch.full((3,), flag) for flag in (has_upper, has_left))
    found = kept(error, overlap, *flags)
    for part, expected in zip(found.flatten(0, 1), error.flatten(0, 1), strict=True):
        assert np.array_equal(part, old_pixels(expected.numpy(), overlap, has_upper, has_left)[1])


def test_a_seam_goes_where_both_agree():
    error = torch.ones(1, 1, 5, 5)
    error[0, 0, :, 1] = 0  # the second column
    old = kept(error, 2, torch.tensor([False]), torch.tensor([True]))[0, 0]
    assert torch.equal(old, torch.tensor([[True, False, False, False, False]] * 5))
    error[0, 0, 1, :] = 0  # and the second row: they meet in the corner of both
    old = kept(error, 2, torch.tensor([True]), torch.tensor([True]))[0, 0]
    assert old[0].all()
    assert old[:, 0].all()
    assert not old[1:, 1:].any()


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (4, 1), (2, 2), (3, 5), (5, 3)])
@pytest.mark.parametrize(("size", "overlap"), [(5, 2), (5, 1), (4, 2)])
def test_patches_are_joined_as_one_after_the_other(grid, size, overlap):
    patches = torch.rand(2, *grid, 3, size, size, dtype=torch.float64)
    found = joined(patches, overlap)
    for image, expected in zip(found, patches, strict=True):
        assert np.array_equal(image, laid(expected.numpy(), overlap))


def test_patches_of_an_image_make_that_image():
    image = torch.rand(2, 3, 14, 11)
    patches = image.unfold(2, 5, 3).unfold(3, 5, 3).permute(0, 2, 3, 1, 4, 5)
    assert torch.equal(joined(patches, 2), image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_make_no_difference(dtype):
    patches = torch.rand(5, 4, 6, 3, 5, 5, dtype=dtype)
    whole = joined(patches, 2)
    assert whole.dtype == dtype
    for size in (1, 2):
        assert torch.equal(torch.cat([joined(part, 2) for part in patches.split(size)]), whole)


def test_errors_are_summed_over_channels():
    first, second = torch.rand(2, 2, 3, 4, 5, dtype=torch.float64)
    expected = ((first.numpy() - second.numpy()) ** 2).sum(axis=1)
    torch.testing.assert_close(squared_error(first, second), torch.from_numpy(expected))
