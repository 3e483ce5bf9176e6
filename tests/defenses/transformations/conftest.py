"""Transformations as users write them."""

import pytest
import torch

from lit_knn.defenses import Transformation


class Noisy(Transformation):
    """Noise of another seed for each draw."""

    name, differentiable, keeps_size = "noisy", True, True

    def __call__(self, image, randomness):
        return image + 0.1 * randomness.normal(image)


class Cropped(Transformation):
    """Six by six pixels, at a random place of each image."""

    name, differentiable = "cropped", True

    def __call__(self, image, randomness):
        height, width = (size - 5 for size in image.shape[2:])
        tops, lefts = randomness.integers(height).tolist(), randomness.integers(width).tolist()
        parts = zip(image, tops, lefts, strict=True)
        return torch.stack([part[:, top : top + 6, left : left + 6] for part, top, left in parts])


class Enlarged(Transformation):
    """Each pixel four times, without gradient."""

    name, random = "enlarged", False

    def __call__(self, image, randomness):
        return image.detach().repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


@pytest.fixture(autouse=True)
def seeded():
    """The same random images in each run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def images(data):
    return torch.stack([data.image("queries", 0, row) for row in range(40)]).float() / 255
