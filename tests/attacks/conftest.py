"""A small convolutional network that really classifies the digits, and the test images that it gets right."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn


@pytest.fixture(scope="session")
def _images() -> tuple[Tensor, Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1)
    return images, torch.tensor(digits.target, dtype=torch.int64)


@pytest.fixture(scope="session")
def network(_images: tuple[Tensor, Tensor]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
            *(nn.Flatten(), nn.Linear(512, 10)),
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
        images, labels = (part[:1297] for part in _images)
        for _ in range(5):
            for rows in torch.randperm(len(images)).split(64):
                optimizer.zero_grad()
                F.cross_entropy(network(images[rows]), labels[rows]).backward()
                optimizer.step()
        optimizer.zero_grad()
    return network.requires_grad_(False).eval()


@pytest.fixture
def digits(_images: tuple[Tensor, Tensor], network: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """128 test images ``(N, 3, 8, 8)``, labels and ids."""
    images, labels = (part[1297:] for part in _images)
    rows = (network(images).argmax(1) == labels).nonzero().flatten()[:128]
    return images[rows], labels[rows], rows


@pytest.fixture
def plane() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear network, images, what it takes them for, and by hand the distance to the nearest boundary, ``(N,)``."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4, bias=False).double()).requires_grad_(False).eval()
    model[1].weight.copy_(torch.randn(4, 48, dtype=torch.float64, generator=generator) / 10)
    image = 0.3 + 0.4 * torch.rand(6, 3, 4, 4, dtype=torch.float64, generator=generator)  # far from black and white
    logits = model(image)
    label = logits.argmax(1)
    slopes = (model[1].weight[None] - model[1].weight[label][:, None]).norm(dim=2)  # (N, C)
    gaps = logits.gather(1, label[:, None]) - logits
    distance = (gaps / slopes.clamp_min(1e-9)).scatter(1, label[:, None], torch.inf).amin(1)
    return model, image, label, distance
