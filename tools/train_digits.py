"""Train the quickstart's two networks and write their weights into the package: seconds on two cores.

    python tools/train_digits.py

The seed is fixed: the same machine and versions give the same files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lit_knn.backbones
from lit_knn.backbones.digits import digits_resnet, digits_surrogate
from lit_knn.data import Digits

WEIGHTS = Path(lit_knn.backbones.__file__).parent / "weights"


def images(split: str) -> tuple[Tensor, Tensor]:
    """Return images ``(N, 3, 8, 8)`` float32 in [0, 1] and labels ``(N,)`` of a split."""
    shard = Digits(split=split).open_shard(0)
    samples = [shard.read(row) for row in range(len(shard))]
    pixels = torch.stack([torch.from_numpy(sample.image).permute(2, 0, 1) for sample in samples])
    return pixels.float() / 255, torch.tensor([sample.label for sample in samples])


def train(network: nn.Module, *, epochs: int, seed: int) -> None:
    """Train in place with AdamW, a one-cycle schedule, and random affine distortions of a tenth of the image."""
    torch.manual_seed(seed)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    pixels, label = images("train")
    pixels = (pixels - 0.5) / 0.5
    batch = 64
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=5e-3, epochs=epochs, steps_per_epoch=len(pixels) // batch
    )
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(pixels))
        for start in range(0, len(pixels) - batch + 1, batch):
            chosen = order[start : start + batch]
            maps = torch.eye(2, 3) + 0.1 * torch.randn(len(chosen), 2, 3)
            grid = F.affine_grid(maps, [len(chosen), 3, 8, 8], align_corners=False)
            distorted = F.grid_sample(pixels[chosen] + 1, grid, align_corners=False) - 1  # what comes in is black
            loss = F.cross_entropy(network(distorted), label[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()


def accuracy(network: nn.Module) -> float:
    """Return the share of test images that are classified correctly."""
    pixels, label = images("test")
    with torch.no_grad():
        return float((network((pixels - 0.5) / 0.5).argmax(1) == label).float().mean())


def main() -> None:
    """Train and save both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the networks are too small to share
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name, network, seed in (
        ("digits_resnet", digits_resnet(pretrained=False), 0),
        ("digits_surrogate", digits_surrogate(pretrained=False), 1),
    ):
        train(network, epochs=arguments.epochs, seed=seed)
        path = arguments.folder / f"{name}.pth"
        torch.save(network.state_dict(), path)
        print(f"{path}: test accuracy {accuracy(network):.3f}, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
