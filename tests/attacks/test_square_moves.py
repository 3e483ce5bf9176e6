"""Windows, bumps and stripes by hand."""

import numpy as np
import pytest
import torch

from lit_knn.attacks.square_moves import L2Moves, LInfMoves, bump, propose, tiles, window_side
from lit_knn.randomness import Randomness
from lit_knn.threat_models.norms import L2


def test_a_bump_of_three_pixels_by_hand():
    upper = np.array([[1, 5, 1]]) / 27**0.5  # 1/4, 1 + 1/4, 1/4: the second square reaches everywhere
    lower = np.array([[1, 1, 1], [1, 5, 1]]) / 30**0.5
    upright = np.concatenate([upper, -lower]) / 2**0.5
    found = bump(3, torch.tensor([[0.1, 0.1, 0.9], [0.9, 0.1, 0.1]], dtype=torch.float64)).numpy()  # (2, 2, 3, 3)
    np.testing.assert_allclose(found, [[upright, -upright], [upright.T, upright.T]], atol=1e-12)


@pytest.mark.parametrize("side", [3, 5, 9, 27, 44])
def test_bumps_are_torchattacks(side, monkeypatch):
    torchattacks = pytest.importorskip("torchattacks")
    theirs = torchattacks.Square(torch.nn.Identity(), norm="L2")
    for coin in (0.1, 0.9):  # it turns above a half
        monkeypatch.setattr(torch, "rand", lambda _, coin=coin: torch.tensor([coin]))
        ours = bump(side, torch.tensor([coin, 0.0]))[0]
        torch.testing.assert_close(ours, theirs.eta(side), rtol=0, atol=1e-6)


def test_windows_are_odd_and_fit_the_image():
    assert window_side(224, 224, 0.8) == 201  # √(0.8·224²) = 200.4, made odd
    assert window_side(224, 224, 0.8 / 512) == 9
    assert window_side(32, 32, 1e-9) == 3
    assert window_side(8, 8, 1.0) == 7
    assert window_side(7, 7, 1.0) == 7
    assert window_side(8, 100, 1.0) == 7
    assert window_side(2, 2, 0.5) == 1


def test_a_proposal_moves_one_window_into_another_and_spends_the_rest_of_the_budget():
    random = torch.Generator().manual_seed(0)
    delta = torch.randn(64, 3, 12, 10, generator=random, dtype=torch.float64)
    radius = 1.1 * L2.length(delta)  # some budget is left over
    draw = torch.rand(64, 8, generator=random, dtype=torch.float64)
    found = propose(delta, radius.view(-1, 1, 1, 1), 5, draw)
    for image in range(64):
        top, left, top2, left2 = (
            int(u * (size - 5 + 1)) for u, size in zip(draw[image, :4].tolist(), (12, 10, 12, 10), strict=True)
        )
        old, new = delta[image].numpy(), found[image].numpy()
        first, second = np.zeros((2, 12, 10), bool)
        first[top : top + 5, left : left + 5] = second[top2 : top2 + 5, left2 : left2 + 5] = True
        np.testing.assert_array_equal(new[:, ~(first | second)], old[:, ~(first | second)])
        assert not new[:, second & ~first].any()
        unused = float(radius[image]) ** 2 - (old**2).sum()
        freed = (old[:, first | second] ** 2).sum(1)  # of each channel
        np.testing.assert_allclose((new[:, first] ** 2).sum(1), freed + unused / 3)
        shape = old[:, first] / np.linalg.norm(old[:, first], axis=1, keepdims=True)
        shape += bump(5, draw[image, 4:]).flatten(1).numpy()
        cosine = (shape * new[:, first]).sum(1) / np.linalg.norm(shape, axis=1) / np.linalg.norm(new[:, first], axis=1)
        np.testing.assert_allclose(cosine, 1)
    norms = (found**2).sum((1, 2, 3)).sqrt()
    torch.testing.assert_close(norms, radius)


def test_windows_reach_every_edge_and_never_leave():
    delta = torch.ones(2, 3, 9, 6)
    ends = torch.tensor([[0.0] * 4 + [0.2] * 4, [1 - 2**-24] * 4 + [0.2] * 4])
    found = propose(delta, torch.full((2, 1, 1, 1), 1e3), 5, ends)
    assert (found[0, :, :5, :5] != 1).all()
    assert (found[0, :, 5:] == 1).all()
    assert (found[1, :, 4:, 1:] != 1).all()
    assert (found[1, :, :4] == 1).all()


@pytest.mark.parametrize(
    ("size", "side", "corner"),
    [((8, 8), 1, (0, 0)), ((32, 32), 6, (1, 1)), ((224, 224), 44, (2, 2)), ((3, 4), 1, (0, 0)), ((20, 11), 2, (0, 0))],
)
def test_tiles_cover_the_image_but_for_an_edge(size, side, corner):
    found = tiles(Randomness(0, torch.tensor([3, 5])), torch.zeros(2, 3, *size))
    assert found.shape == (2, 3, *size)
    assert not torch.equal(found[0], found[1])
    (top, left), (rows, columns) = corner, (extent // side for extent in size)
    squares = found[:, :, top : top + rows * side, left : left + columns * side].reshape(
        2, 3, rows, side, columns, side
    )
    torch.testing.assert_close((squares**2).sum((3, 5)), torch.ones(2, 3, rows, columns))  # each a bump
    torch.testing.assert_close((found**2).sum(), torch.tensor(6.0 * rows * columns))  # and nothing beside them


def test_stripes_have_one_sign_in_a_column_of_a_channel():
    image = torch.zeros(40, 3, 5, 7, dtype=torch.float64)
    found = LInfMoves().start(Randomness(0, torch.arange(40)), image)
    assert found.shape == image.shape
    assert set(found.flatten().tolist()) == {-1, 1}
    assert torch.equal(found, found[:, :, :1].expand_as(found))
    assert found[:, :, 0].mean().abs() < 4 / (40 * 3 * 7) ** 0.5  # as likely
    assert (found[:, :, 0] != found[:, :, 0].roll(1, 2)).any(2).any(0).all()


def test_the_first_bumps_have_length_one():
    found = L2Moves().start(Randomness(0, torch.arange(4)), torch.zeros(4, 3, 9, 7))
    torch.testing.assert_close(L2.length(found), torch.ones(4))


@pytest.mark.parametrize(("p", "side"), [(0.8, 6), (0.3, 4), (0.1, 2), (1e-4, 1), (1.0, 6)])
def test_a_window_takes_one_color_that_clipping_from_twice_the_radius_gives(p, side):
    """The authors add ±2ε and clip to the ball; sides are those of a 7 × 6 image."""
    random = torch.Generator().manual_seed(1)
    image = torch.rand(20, 3, 7, 6, dtype=torch.float64, generator=random)
    radius = torch.linspace(0.01, 0.2, 20, dtype=torch.float64).view(-1, 1, 1, 1)
    best = image + radius * (2 * torch.rand(image.shape, dtype=torch.float64, generator=random) - 1)
    draw = torch.rand(20, 5, dtype=torch.float64, generator=random)
    draw[0], draw[1] = 0, 1 - 2**-53  # both corners
    before = best.clone()
    found = LInfMoves().candidate(best, image, radius, p, draw)
    assert torch.equal(best, before)
    for row in range(20):
        top, left = (int(u * (size - side + 1)) for u, size in zip(draw[row, :2].tolist(), (7, 6), strict=True))
        x, r = image[row].numpy(), float(radius[row])
        change = np.zeros((3, 7, 6))
        signs = np.where(draw[row, 2:].numpy() < 0.5, 1, -1)
        change[:, top : top + side, left : left + side] = 2 * r * signs[:, None, None]
        np.testing.assert_allclose(found[row], np.clip(best[row].numpy() + change, x - r, x + r), rtol=0, atol=1e-15)
