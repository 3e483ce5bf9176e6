"""The change of an image against torchattacks' and by hand."""

import pytest
import torch
import torch.nn.functional as F

from lit_knn.attacks.diversity import diverse


@pytest.fixture
def image():
    return torch.rand(40, 3, 30, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def draws(image):
    return torch.rand(len(image), 4, generator=torch.Generator().manual_seed(1)).to(image)


def changed(image, probability=1.0):
    """Return what the score is asked about."""
    seen = []
    diverse(seen.append, probability, draws(image))(image)
    return seen[0]


def box(image):
    """Return first row, first column and side of what is not black, of one image whose every pixel was above 0."""
    rows, columns = ((image.sum(axis) > 0).nonzero().flatten() for axis in ((0, 2), (0, 1)))
    assert len(rows) == rows[-1] - rows[0] + 1
    return int(rows[0]), int(columns[0]), len(rows)


def test_each_image_is_shrunk_and_moved_as_torchattacks_does(image, monkeypatch):
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.DIFGSM(torch.nn.Identity().eval(), resize_rate=0.9, diversity_prob=1.0)
    boxes = [box(part) for part in changed(image)]
    for before, after, (top, left, side) in zip(image, changed(image), boxes, strict=True):
        drawn = iter([side, top, left])
        monkeypatch.setattr(torch, "randint", lambda *_, drawn=drawn, **__: torch.tensor([next(drawn)]))
        torch.testing.assert_close(after, attack.input_diversity(before[None])[0])
    assert {side for _, _, side in boxes} == {27, 28, 29}
    assert {(top, left) for top, left, side in boxes if side == 28} > {(0, 0), (2, 2)}


def test_images_that_are_left_alone_are_so_to_the_bit(image):
    after = changed(image, probability=0.5)
    same = torch.tensor([torch.equal(*pair) for pair in zip(image, after, strict=True)])
    assert 8 < same.sum() < 32
    assert torch.equal(after[~same], changed(image)[~same])
    assert torch.equal(changed(image.float(), probability=0.0), image.float())


def test_a_score_is_of_one_draw_and_its_gradient_is_the_images(image):
    score = diverse(lambda x: (x**2).sum((1, 2, 3)), 1.0, draws(image))
    assert torch.equal(score(image), score(image))
    point = image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(score(point).sum(), point)
    step = 1e-6 * torch.ones_like(image)
    torch.testing.assert_close((score(image + step) - score(image)) / 1e-6, slope.sum((1, 2, 3)), rtol=1e-5, atol=0)


def test_images_that_are_not_square_and_tiny_ones():
    wide = torch.rand(20, 3, 20, 40) + 0.01
    for after in changed(wide):
        filled = (after.sum(0) > 0).nonzero()
        height, width = (filled.amax(0) - filled.amin(0) + 1).tolist()
        assert (height, width) in {(18, 36), (18, 37), (19, 38), (19, 39)}
    assert torch.equal(changed(torch.ones(3, 3, 1, 1)), torch.ones(3, 3, 1, 1))
    assert F.adaptive_avg_pool2d(changed(torch.ones(50, 3, 8, 8)), 1).amax() == pytest.approx(49 / 64)
