"""The classifier under attack: it owns its normalisation, so that everything outside works in pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from lit_knn.backbones.networks import build, load_weights
from lit_knn.backbones.precision import at_least_float32, network_precision, verify_precision
from lit_knn.backbones.taps import Tap, TappedNetwork, tap_network
from lit_knn.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@final  # and so YAML names its arguments without a class path
class Classifier(nn.Module):
    """A frozen network from pixels in [0, 1] to logits.

    Args:
        network: ``torchvision/resnet50``, ``timm/tf_efficientnet_lite0``, ``package.module.function`` or
            ``path/to/file.py:function``.
        arguments: Keyword arguments of that function, such as ``{num_classes: 10}`` or, for torchvision's own
            weights (downloaded if they are not cached), ``{weights: DEFAULT}``.
        weights: A state dict to load; by default the network stays as the function built it.
        mean: Per channel, in pixels of [0, 1].
        std: Per channel, in pixels of [0, 1].
        channels_last: Keep weights and activations in that memory layout, which makes most convolutions faster.
        name: What tables and figures call it; by default the last part of ``network``.

    Attributes:
        precision: What the network computes in, as a Trainer calls it; see `set_precision`. What it gives is float32 in
            any case, or float64.
    """

    def __init__(
        self,
        *,
        network: str,
        arguments: dict[str, Any] | None = None,
        weights: str | Path | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        channels_last: bool = True,
        name: str = "",
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UserError(f"mean {list(mean)} and std {list(std)} need three values each, those of std above 0")
        self.name = name or network.replace(":", "/").replace(".", "/").rsplit("/", 1)[-1]
        self.network = build(network, arguments or {})
        if weights is not None:
            load_weights(self.network, weights)
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=self._layout)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.precision = "32-true"
        self._tapped: dict[tuple[Tap, ...], TappedNetwork] = {}
        self._cut: dict[tuple[Tap, ...], TappedNetwork] = {}
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(N, C)`` of images ``(N, 3, H, W)``, float32 in [0, 1]."""
        with network_precision(self.precision, image.device):
            return at_least_float32(self.network(self._input(image)))

    def normalise(self, image: Tensor) -> Tensor:
        """Return ``(image − mean) / std``, what the network sees."""
        return (image - self.mean) / self.std

    def _input(self, image: Tensor) -> Tensor:
        return self.normalise(image).contiguous(memory_format=self._layout)

    def tapped(self, image: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits ``(N, C)`` and pooled activations ``{tap.name: (N, D)}`` of one forward pass.

        Args:
            image: ``(N, 3, H, W)`` float32 in [0, 1].
            taps: What to read.

        Raises:
            UserError: If the network has no such layer.
        """
        key = tuple(taps)
        if key not in self._tapped:
            self._tapped[key] = tap_network(self.network, taps)
        return self._read(self._tapped[key], image)

    def activations(self, image: Tensor, taps: Sequence[Tap]) -> dict[str, Tensor]:
        """Return pooled activations ``{tap.name: (N, D)}`` without the layers behind the last of them.

        Args:
            image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1].
            taps: What to read.
        """
        key = tuple(taps)
        if key not in self._cut:
            self._cut[key] = tap_network(self.network, taps, logits=False)
        return self._read(self._cut[key], image)[1]

    def _read(self, network: TappedNetwork, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with network_precision(self.precision, image.device):
            logits, pooled = network(self._input(image))
        return at_least_float32(logits), pooled

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: batch statistics and dropout would change what is measured."""
        del mode
        return super().train(False)

    def fingerprint(self) -> str:
        """Return a hash of every parameter, buffer and normalisation constant, and the precision: equal, equal string."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            value = value.float() if value.dtype == torch.float64 else value  # Lightning may have cast them already
            digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        precision = "" if self.precision == "32-true" else f" in {self.precision}"
        return f"{self.name}-{digest.hexdigest()[:16]}{precision}"


def set_precision(module: nn.Module, precision: str) -> None:
    """Tell every classifier within a module what a Trainer's precision is: all that they give depends on it.

    Raises:
        UserError: For one that is not accepted.
    """
    verify_precision(precision)
    for part in module.modules():
        if isinstance(part, Classifier):
            part.precision = precision
