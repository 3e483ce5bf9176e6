"""Where a network is tapped: named nodes of its graph, read before anything overwrites them.

A tap is a torchvision graph node name such as ``layer4.0.add`` (the sum of a residual block, before the block's last
ReLU), a module, or one of the paper's names for a ResNet-50. A network whose graph cannot be trusted is tapped at its
modules only.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from lit_knn.backbones.features.pooling import Size, pool
from lit_knn.backbones.layout import Channels
from lit_knn.backbones.outputs import describe
from lit_knn.errors import UserError

PAPER_TAPS: dict[str, tuple[str, Size]] = {  # name → (node of a torchvision ResNet-50, pool): Table 3
    "conv_2_3": ("layer1.2.add", 7),
    "conv_3_4": ("layer2.3.add", 7),
    "conv_4_6": ("layer3.5.add", 4),
    "conv_5_1": ("layer4.0.add", 1),
    "conv_5_1-RMAC": ("layer4.0.add", "rmac"),
}
TappedNetwork = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]
Change = Callable[[Tensor], Tensor]
"""An activation into one of the same shape and dtype."""
ResumedNetwork = Callable[[Tensor, Change], Tensor]


@dataclass(frozen=True)
class Tap:
    """One feature of an image.

    Args:
        layer: A graph node or module of the network, or a name of the paper (``conv_2_3``, ``conv_3_4``,
            ``conv_4_6``, ``conv_5_1``, ``conv_5_1-RMAC`` of a ResNet-50).
        pool: Side of the grid to which maps and tokens are averaged; ``rmac``, the sum of maxima over regions at three
            scales; or ``cls``, the first of the tokens of a ViT. By default the paper's for its own names and 1
            elsewhere, the average over everything.
        dimension: Length of the feature after PCA; a shorter pooled activation keeps its length.
        bits: Keep the signs of the feature only, −1 and 1: a bit of each dimension, of which there are a multiple of 8.
        channels: Where the layer's maps and tokens have them: ``first`` (N, D, H, W) as convolutions, ``last`` (N, H,
            W, D) as Swin and (N, T, D) as a ViT; by default as convolutions and as a ViT, and what looks like the
            other, given the size of the images, is refused.
        prefix_tokens: Class and register tokens of a ViT before those of its grid (DINOv2 has 1, or 5 with registers),
            which ``pool`` leaves out.
        metric: ``cosine`` gives each pooled activation length 1 before PCA, so that the nearest rows are those of the
            largest cosine: exactly, where ``dimension`` keeps all components.
        name: What tables and stores call it; by default ``layer``.

    References:
        Dubey et al. 2019, Section 5.1 and Appendix B.

    Differences from the paper:
        The paper's 50 billion images have "R-MAC pooling, bit quantization, and dimensionality reduction", in this
        order and without more; ``bits`` come after PCA, where each dimension is centered and worth one.
    """

    layer: str
    pool: int | Literal["rmac", "cls"] | None = None
    dimension: int = 256
    bits: bool = False
    channels: Literal["first", "last"] | None = None
    prefix_tokens: int = 0
    metric: Literal["euclidean", "cosine"] = "euclidean"
    name: str = ""

    def __post_init__(self) -> None:
        """Fill in the defaults that depend on ``layer`` and refuse what cannot be built."""
        node, pooling = PAPER_TAPS.get(self.layer, (self.layer, 1))
        object.__setattr__(self, "name", self.name or self.layer)
        object.__setattr__(self, "layer", node)
        object.__setattr__(self, "pool", pooling if self.pool is None else self.pool)
        if self.pool not in ("rmac", "cls") and not (isinstance(self.pool, int) and self.pool >= 1):
            raise UserError(f"tap {self.name!r} has pool {self.pool}; whole numbers from 1, rmac and cls are accepted")
        if self.prefix_tokens < 0 or (self.prefix_tokens and not isinstance(self.pool, int)):
            raise UserError(
                f"tap {self.name!r} has prefix_tokens: {self.prefix_tokens} with pool: {self.pool}; numbers from 1 "
                "leave tokens out of averages, which pool 1 and above are"
            )
        if self.metric not in ("euclidean", "cosine"):
            raise UserError(f"tap {self.name!r} has metric {self.metric!r}; euclidean and cosine are accepted")
        if self.dimension < 1 or (self.bits and self.dimension % 8):
            accepted = "multiples of 8, with bits," if self.bits else "whole numbers from 1"
            raise UserError(f"tap {self.name!r} has dimension {self.dimension}; {accepted} are accepted")
        for sign in "/+":  # of folders, and of taps side by side
            if sign in self.name:
                raise UserError(f"tap name {self.name!r} holds a {sign!r}; give it another with `name:`")

    @property
    def pooling(self) -> tuple[Size, Channels | None, int, bool]:
        """What `read` takes besides the activation of images: the last is whether it becomes a unit vector."""
        return self.pool or 1, self.channels, self.prefix_tokens, self.metric == "cosine"

    @property
    def activation(self) -> str:
        """What its activations depend on besides the network, in words."""
        told = {
            f"channels {self.channels}": self.channels,
            f"without {self.prefix_tokens} tokens": self.prefix_tokens,
            "cosine": self.metric == "cosine",
        }
        return ", ".join([f"{self.layer}, pool {self.pool}", *(part for part, holds in told.items() if holds)])

    def identity(self) -> str:
        """Return what its features depend on besides the network, in words."""
        return f"{self.activation}, dimension {self.dimension}" + (", bits" if self.bits else "")


def read(
    activation: object,
    image: Tensor,
    name: str,
    size: Size,
    channels: Channels | None,
    prefix: int = 0,
    unit: bool = False,
) -> Tensor:
    """Return the pooled activation of a tap, ``(N, D)``, of images ``(N, 3, H, W)``; of length 1 if it is to be.

    Raises:
        UserError: If it is no tensor with a row for each image.
    """
    if not isinstance(activation, Tensor):
        raise UserError(f"tap {name!r} gives {describe(activation)}, where one tensor is needed: tap a part of it")
    height, width = image.shape[2:]
    try:
        pooled = pool(activation, size, channels, (height, width), prefix)
    except UserError as error:
        raise UserError(f"tap {name!r}: {error}") from error
    if len(pooled) != len(image):
        raise UserError(
            f"tap {name!r} gives {describe(activation)} for {len(image)} images: its first dimension has to be that of "
            "the images"
        )
    return F.normalize(pooled, dim=1) if unit else pooled


def changed(activation: object, change: Change, layer: str) -> Tensor:
    """Return what a network goes on with from a layer.

    Raises:
        UserError: If the activation is no tensor, or what is made of it has another shape or dtype.
    """
    if not isinstance(activation, Tensor):
        raise UserError(f"layer {layer!r} gives {describe(activation)}, where one tensor is needed: name a part of it")
    result = change(activation)
    if not isinstance(result, Tensor) or (result.shape, result.dtype) != (activation.shape, activation.dtype):
        raise UserError(f"layer {layer!r} gives {describe(activation)}, and was changed to {describe(result)}")
    return result


def unknown_layer(tap: Tap, known: Sequence[str], why: str = "") -> UserError:
    """Return the error that names the layers that come nearest to one that does not exist."""
    near = difflib.get_close_matches(tap.layer, known, n=5, cutoff=0.3) or known[:5]
    return UserError(f"the network has no layer {tap.layer!r}{why}; near it are {', '.join(near)}")
