import pytest
import torch

from lit_knn.attacks import RandomNoise
from lit_knn.threat_models.budget import RELATIVE_L2


def model(image):
    raise AssertionError("a single draw needs no model")


@pytest.mark.parametrize("delta", [0.01, 0.06, 0.2])
def test_it_is_exactly_at_the_budget_where_nothing_is_clipped(delta):
    image = torch.full((8, 3, 16, 16), 0.5)
    (found,) = RandomNoise()(model, image, torch.zeros(8, dtype=torch.int64), torch.arange(8), [delta])
    torch.testing.assert_close(RELATIVE_L2.realized(image, found), torch.full((8,), delta), rtol=1e-5, atol=0)
    assert not torch.equal(found[0], found[1])


def test_clipping_only_takes_away():
    image = torch.zeros(8, 3, 16, 16)
    image[:, 0] = 1
    (found,) = RandomNoise()(model, image, torch.zeros(8, dtype=torch.int64), torch.arange(8), [0.06])
    assert (RELATIVE_L2.realized(image, found) < 0.06 * 0.8).all()  # about half of the pixels would leave [0, 1]


def test_directions_differ_with_the_seed_and_are_unbiased():
    image = torch.full((500, 3, 4, 4), 0.5)
    arguments = model, image, torch.zeros(500, dtype=torch.int64), torch.arange(500), [0.1]
    first, second = (next(RandomNoise(seed=seed)(*arguments)) for seed in (0, 1))
    assert not torch.equal(first, second)
    cosine = torch.cosine_similarity((first - image).flatten(1), (second - image).flatten(1))
    assert cosine.mean().abs() < 0.03
