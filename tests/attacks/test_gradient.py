import pytest
import torch

from lit_knn.attacks.gradient import direction, gradient, require_step
from lit_knn.errors import UserError
from lit_knn.victim import Victim


@pytest.fixture
def victim():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 3, 4, 4, dtype=torch.float64, generator=generator)
    return Victim(lambda image: image.flatten(1), image, torch.zeros(3, dtype=torch.int64), torch.tensor([5, 6, 7]))


def test_the_gradient_of_each_image_by_hand(victim):
    value, ascent = gradient(victim, lambda image: (image**3).sum((1, 2, 3)), victim.image)
    torch.testing.assert_close(value, (victim.image**3).sum((1, 2, 3)))
    torch.testing.assert_close(ascent, 3 * victim.image**2)
    assert not value.requires_grad
    assert not ascent.requires_grad


def test_what_has_no_gradient_or_an_infinite_one_is_refused(victim):
    with pytest.raises(UserError, match=r"no gradient.*Square"):
        gradient(victim, lambda image: image.detach().sum((1, 2, 3)), victim.image)
    poles = torch.tensor([1.0, torch.inf, 1.0], dtype=torch.float64)
    with pytest.raises(UserError, match=r"not finite for the images with id 6$"):
        gradient(victim, lambda image: image.sum((1, 2, 3)) * poles, victim.image)


def test_directions_have_length_one_and_zero_stays_zero():
    slope = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    slope[1] *= 1e-30  # its squares vanish in float32
    slope[2] = 0
    for step in ("l2", "sign"):
        length = direction(slope, step).flatten(1).norm(dim=1)
        torch.testing.assert_close(length, torch.tensor([1.0, 1.0, 0.0, 1.0]))
    torch.testing.assert_close(direction(slope, "l2")[3], slope[3] / slope[3].norm())


def test_unknown_steps():
    with pytest.raises(UserError, match="sign and l2 are accepted"):
        require_step("linf")
