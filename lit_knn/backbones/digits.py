"""The quickstart's networks: bottleneck ResNets for 8×8 digits, with their weights in the package."""

from __future__ import annotations

from importlib import resources

import torch.nn.functional as F
from torch import Tensor, nn

from lit_knn.backbones.loading import load_weights


class Bottleneck(nn.Module):
    """A pre-ReLU tap lies at ``add``: the sum of a residual block, before its last activation."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels = 4 * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, D, H, W)`` to ``(N, 4·width, H/stride, W/stride)``."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x))


class DigitsResNet(nn.Module):
    """Three stages, named like a ResNet-50's: 4×4 maps in ``layer1``, 2×2 in ``layer2``, 1×1 in ``layer3``.

    Args:
        width: Inner channels of the first stage; each later one doubles them.
        blocks: Blocks of each stage.
    """

    def __init__(self, *, width: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2 * width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * width)
        self.layer1 = self._stage(2 * width, width, blocks, stride=1)
        self.layer2 = self._stage(4 * width, 2 * width, blocks, stride=2)
        self.layer3 = self._stage(8 * width, 4 * width, blocks, stride=2)
        self.fc = nn.Linear(16 * width, 10)

    @staticmethod
    def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        first = Bottleneck(channels, width, stride)
        return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, 10)`` of normalized images ``(N, 3, 8, 8)``."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def digits_resnet(*, pretrained: bool = True) -> DigitsResNet:
    """Build the network that the quickstart defends.

    Args:
        pretrained: Load the weights that ``tools/train_digits.py`` wrote into this package.
    """
    return _build("digits_resnet", DigitsResNet(width=8, blocks=2), pretrained)


def digits_surrogate(*, pretrained: bool = True) -> DigitsResNet:
    """Build the quickstart's surrogate: shallower, narrower and trained from another seed.

    Args:
        pretrained: Load the weights that ``tools/train_digits.py`` wrote into this package.
    """
    return _build("digits_surrogate", DigitsResNet(width=6, blocks=1), pretrained)


def _build(name: str, network: DigitsResNet, pretrained: bool) -> DigitsResNet:
    if pretrained:
        with resources.as_file(resources.files("lit_knn.backbones") / "weights" / f"{name}.pth") as path:
            load_weights(network, path)
    return network
