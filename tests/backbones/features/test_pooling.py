import numpy as np
import pytest
import torch

from lit_knn.backbones.features.pooling import pool, rmac_regions
from lit_knn.errors import UserError


@pytest.mark.parametrize(("side", "size"), [(56, 7), (28, 7), (14, 4), (7, 1)])  # the paper's Table 3
def test_maps_are_averaged_cell_by_cell(side, size):
    maps = torch.rand(2, 3, side, side, dtype=torch.float64)
    edges = [(int(np.floor(i * side / size)), int(np.ceil((i + 1) * side / size))) for i in range(size)]
    expected = [[maps[:, :, a:b, c:d].mean(dim=(2, 3)) for c, d in edges] for a, b in edges]
    expected = torch.stack([torch.stack(row, dim=-1) for row in expected], dim=-2).flatten(1)
    torch.testing.assert_close(pool(maps, size), expected)


def test_small_maps_keep_their_size_and_are_copied():
    maps = torch.rand(2, 3, 2, 2)
    pooled = pool(maps, 7)
    torch.testing.assert_close(pooled, maps.flatten(1))
    maps.zero_()
    assert pooled.abs().sum() > 0


def test_tokens_and_vectors():
    tokens = torch.rand(2, 5, 3)
    torch.testing.assert_close(pool(tokens, 1), tokens.mean(1))
    vectors = torch.rand(2, 3)
    pooled = pool(vectors, 1)
    vectors.zero_()
    assert pooled.abs().sum() > 0


@pytest.mark.parametrize("shape", [(2, 3, 4, 4, 4), (2,)])
def test_other_layouts_are_refused(shape):
    with pytest.raises(UserError, match="shape"):
        pool(torch.zeros(shape), 1)


def test_the_class_token_is_the_first_and_a_copy():
    tokens = torch.rand(2, 5, 3)
    first = tokens[:, 0].clone()
    pooled = pool(tokens, "cls")
    tokens.zero_()
    assert torch.equal(pooled, first)
    assert torch.equal(pool(tokens.movedim(1, 2), "cls", "first"), tokens[:, 0])


@pytest.mark.parametrize(("image", "grid"), [((24, 24), (6, 6)), ((24, 48), (6, 12)), ((48, 24), (12, 6))])
@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_tokens_of_a_grid_are_averaged_as_the_map_that_they_are(image, grid, prefix, size):
    tokens = np.random.default_rng(0).random((2, prefix + grid[0] * grid[1], 3))
    maps = tokens[:, prefix:].reshape(2, *grid, 3).transpose(0, 3, 1, 2)
    expected = pool(torch.from_numpy(maps), size)
    found = pool(torch.from_numpy(tokens), size, None, image, prefix)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    other = pool(torch.from_numpy(tokens).movedim(1, 2), size, "first", image, prefix)
    torch.testing.assert_close(other, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("shape", "given", "sentence"),
    [
        ((2, 37, 3), (2, None, (24, 24), 0), "37 tokens should be a grid .* but none would be: set .*prefix_tokens"),
        ((2, 12, 3), (2, None, (24, 24), 0), "but 3×4 and 4×3 would be"),
        ((2, 4, 3), (2, None, (24, 24), 4), "prefix_tokens is 4, but there are 4 tokens"),
        ((2, 36, 3), (2, None, None, 0), "needs the size of the images"),
        ((2, 3, 6, 6), ("cls",), r"pool: cls gave an activation of shape \(2, 3, 6, 6\)"),
        ((2, 3), ("cls",), "tokens .* alone have a class token"),
        ((2, 3, 6, 6), (1, None, None, 1), "prefix_tokens gave"),
        ((2, 3), (1, None, None, 1), "prefix_tokens gave"),
        ((2, 36, 3), ("rmac",), "pool: rmac gave"),
    ],
)
def test_tokens_that_are_not_there(shape, given, sentence):
    with pytest.raises(UserError, match=sentence):
        pool(torch.zeros(shape), *given)


# ---------------------------------------------------------------- R-MAC

SQUARE = [(7, [0], [0]), (4, [0, 3], [0, 3]), (3, [0, 2, 4], [0, 2, 4])]  # side, tops, lefts: 14 regions of conv_5_1
WIDE = [
    (4, [0], [0, 2, 4]),
    (2, [0, 2], [0, 2, 4, 6]),
    (2, [0, 1, 2], [0, 1, 3, 4, 6]),
]  # of 4 × 8: three overlap by half
ALMOST = [(6, [0, 1], [0]), (4, [0, 1, 3], [0, 2]), (3, [0, 1, 2, 4], [0, 1, 3])]  # of 7 × 6
MAPS = {
    (7, 7): SQUARE,
    (4, 8): WIDE,
    (8, 4): [(side, lefts, tops) for side, tops, lefts in WIDE],
    (7, 6): ALMOST,
    (2, 2): [(2, [0], [0]), (1, [0, 1], [0, 1]), (1, [0, 0, 1], [0, 0, 1])],
    (1, 1): [(1, [0], [0])],
}


@pytest.mark.parametrize("shape", MAPS)
def test_rmac_is_the_sum_of_unit_maxima_over_regions_placed_by_hand(shape):
    maps = np.random.default_rng(0).normal(size=(3, 5, *shape))
    expected = []
    for image in maps:
        total = np.zeros(5)
        for side, tops, lefts in MAPS[shape]:
            for top in tops:
                for left in lefts:
                    maxima = np.array(
                        [max(plane[top + y, left + x] for y in range(side) for x in range(side)) for plane in image]
                    )
                    total += maxima / np.sqrt((maxima**2).sum())
        expected.append(total / np.sqrt((total**2).sum()))
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        found = pool(torch.from_numpy(maps).to(dtype), "rmac")
        assert found.dtype == dtype
        np.testing.assert_allclose(found, np.stack(expected), atol=tolerance)


@pytest.mark.parametrize("shape", [(7, 7), (14, 14), (10, 7), (7, 21), (5, 40), (38, 50)])
def test_regions_cover_the_map_and_the_largest_overlap_by_about_two_fifths(shape):
    height, width = shape
    regions = list(rmac_regions(height, width))
    seen = np.zeros(shape, int)
    for top, left, side in regions:
        assert 0 <= top <= height - side
        assert 0 <= left <= width - side
        seen[top : top + side, left : left + side] += 1
    assert (seen > 0).all()
    largest = [top + left for top, left, side in regions if side == min(shape)]
    if height == width:
        assert len(regions) == 1 + 4 + 9
    elif max(shape) >= 1.6 * min(shape):  # else two of them overlap by more, whatever one does
        assert np.abs(1 - np.diff(largest).mean() / min(shape) - 0.4).item() < 0.2


def published(height, width, most=7):
    """The regions of Tolias et al.'s `rmac_regionvec_act.m`, from its formulas; no rounding takes a border pixel."""
    short = min(height, width)
    gaps = np.arange(1, most)
    apart = (max(height, width) - short) / gaps
    more = 1 + int(np.argmin(np.abs((short**2 - short * apart) / short**2 - 0.4)))
    more_down, more_right = more * (height > width), more * (width > height)
    for scale in (1, 2, 3):
        side = int(2 * short / (scale + 1))
        starts = [
            np.floor(np.arange(scale + extra) * (length - side) / max(scale + extra - 1, 1) + 1e-9).astype(int).tolist()
            for length, extra in ((height, more_down), (width, more_right))
        ]
        yield from ((top, left, side) for top in starts[0] for left in starts[1] if side)


def test_regions_are_those_of_the_published_code():
    for short in range(1, 41):
        for long in range(short, int(4.8 * short) + 1):
            assert sorted(rmac_regions(short, long)) == sorted(published(short, long)), (short, long)
            assert sorted(rmac_regions(long, short)) == sorted(published(long, short)), (long, short)


@pytest.mark.parametrize("shape", [(1, 8), (2, 14), (7, 60), (40, 3)])
def test_of_longer_maps_no_part_is_left_out(shape):
    assert sorted(rmac_regions(*shape)) == sorted(published(*shape, most=1000))
    for size, starts in ((shape[0], 0), (shape[1], 1)):
        covered = {region[starts] + step for region in rmac_regions(*shape) for step in range(region[2])}
        assert covered == set(range(size))


def test_rmac_has_exact_gradients_and_no_scale():
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda maps: pool(maps, "rmac"), maps)
    torch.testing.assert_close(pool(maps * 7, "rmac"), pool(maps, "rmac"))
    one, *_ = torch.split(maps, 1)
    torch.testing.assert_close(pool(one, "rmac"), pool(maps, "rmac")[:1])  # whatever is beside it in the batch


def test_rmac_of_nothing_is_nothing():
    dead = torch.zeros(1, 3, 4, 4, requires_grad=True)
    pool(dead, "rmac").sum().backward()
    assert (pool(dead, "rmac") == 0).all()
    assert torch.isfinite(dead.grad).all()


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 3)])
def test_rmac_is_of_maps(shape):
    with pytest.raises(UserError, match="pool: rmac gave"):
        pool(torch.zeros(shape), "rmac")


# ---------------------------------------------------------------- channels first or last


@pytest.mark.parametrize("size", [1, 2, "rmac"])
def test_channels_may_come_last(size):
    maps = torch.randn(2, 5, 4, 4)
    torch.testing.assert_close(pool(maps.movedim(1, -1), size, "last"), pool(maps, size))


def test_maps_that_look_like_the_other_layout_are_refused_until_one_says_so():
    maps = torch.randn(2, 7, 7, 5)
    with pytest.raises(UserError, match="set the tap's `channels` to first or last"):
        pool(maps, 1)
    torch.testing.assert_close(pool(maps, 1, "last"), maps.mean(dim=(1, 2)))
    torch.testing.assert_close(pool(maps, 1, "first"), maps.mean(dim=(2, 3)))
    assert pool(torch.randn(2, 7, 7, 7), 1).shape == (2, 7)
