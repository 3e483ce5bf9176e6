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
