"""Where a network is tapped: named nodes of its graph, read before anything overwrites them.

A tap is a torchvision graph node name such as ``layer4.0.add`` (the sum of a residual block, before the block's last
ReLU), or one of the paper's names for a ResNet-50. A network that cannot be traced is tapped at its modules.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from lit_knn.backbones.pooling import pool
from lit_knn.errors import UserError

PAPER_TAPS: dict[str, tuple[str, int | Literal["rmac"]]] = {  # name → (node of a torchvision ResNet-50, pool): Table 3
    "conv_2_3": ("layer1.2.add", 7),
    "conv_3_4": ("layer2.3.add", 7),
    "conv_4_6": ("layer3.5.add", 4),
    "conv_5_1": ("layer4.0.add", 1),
    "conv_5_1-RMAC": ("layer4.0.add", "rmac"),
}
TappedNetwork = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Tap:
    """One feature of an image.

    Args:
        layer: A graph node or module of the network, or a name of the paper (``conv_2_3``, ``conv_3_4``,
            ``conv_4_6``, ``conv_5_1``, ``conv_5_1-RMAC`` of a ResNet-50).
        pool: Side of the grid to which maps are averaged, or ``rmac``, the sum of maxima over regions at three scales;
            by default the paper's for its own names and 1 elsewhere.
        dimension: Length of the feature after PCA; a shorter pooled activation keeps its length.
        bits: Keep the signs of the feature only, −1 and 1: a bit of each dimension, of which there are a multiple of 8.
        channels: Where the layer's maps have them: ``first`` (N, D, H, W) as convolutions, ``last`` (N, H, W, D) as
            Swin; by default first, and maps that look like the other are refused.
        name: What tables and stores call it; by default ``layer``.

    References:
        Dubey et al. 2019, Section 5.1 and Appendix B.

    Differences from the paper:
        The paper's 50 billion images have "R-MAC pooling, bit quantization, and dimensionality reduction", in this
        order and without more; ``bits`` come after PCA, where each dimension is centred and worth one.
    """

    layer: str
    pool: int | Literal["rmac"] | None = None
    dimension: int = 256
    bits: bool = False
    channels: Literal["first", "last"] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Fill in the defaults that depend on ``layer`` and refuse what cannot be built."""
        node, pooling = PAPER_TAPS.get(self.layer, (self.layer, 1))
        object.__setattr__(self, "name", self.name or self.layer)
        object.__setattr__(self, "layer", node)
        object.__setattr__(self, "pool", pooling if self.pool is None else self.pool)
        if self.pool != "rmac" and not (isinstance(self.pool, int) and self.pool >= 1):
            raise UserError(f"tap {self.name!r} has pool {self.pool}; whole numbers from 1 and rmac are accepted")
        if self.dimension < 1 or (self.bits and self.dimension % 8):
            accepted = "multiples of 8, with bits," if self.bits else "whole numbers from 1"
            raise UserError(f"tap {self.name!r} has dimension {self.dimension}; {accepted} are accepted")
        if "/" in self.name:
            raise UserError(f"tap name {self.name!r} holds a '/'; give it another with `name:`")

    @property
    def pooling(self) -> tuple[int | Literal["rmac"], Literal["first", "last"] | None]:
        """What `pool` takes besides the activation."""
        return self.pool or 1, self.channels

    @property
    def activation(self) -> str:
        """What its activations depend on besides the network, in words."""
        return f"{self.layer}, pool {self.pool}" + (f", channels {self.channels}" if self.channels else "")

    def identity(self) -> str:
        """Return what its features depend on besides the network, in words."""
        return f"{self.activation}, dimension {self.dimension}" + (", bits" if self.bits else "")


def tap_network(network: nn.Module, taps: Iterable[Tap], *, logits: bool = True) -> TappedNetwork:
    """Return a function that gives the logits and every pooled tap in one forward pass.

    Args:
        network: In evaluation mode; it shares its parameters with the result and is not changed.
        taps: What to read.
        logits: Whether they are wanted. Without them the layers behind the last tap are not run, where the network can
            be traced, and what stands in their place has no meaning.

    Returns:
        Images ``(N, 3, H, W)`` → logits ``(N, C)`` and ``{tap.name: (N, D)}``.

    Raises:
        UserError: If a layer does not exist; the sentence names those that come nearest.
    """
    taps = list(taps)
    if not taps:
        return lambda image: (network(image), {})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns about every shape a network looks at
            nodes = get_graph_node_names(network, suppress_diff_warning=True)[1]
    except Exception:  # noqa: BLE001 - Python control flow on tensors may fail with anything
        network.eval()  # torchvision traces it in training mode as well, and where that fails leaves it there
        return _hooked(network, taps)
    for tap in taps:
        _require(tap, nodes)
    return _traced(network, taps, output=nodes[-1] if logits else taps[0].layer)


def _traced(network: nn.Module, taps: list[Tap], output: str) -> TappedNetwork:
    """Cut the graph after the last node needed, and pool each tap the moment it exists.

    torchvision hands out the tensor itself, which a following ``ReLU(inplace=True)`` has overwritten by then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extractor = create_feature_extractor(
            network, {node: node for node in {output, *(tap.layer for tap in taps)}}, suppress_diff_warning=True
        )
    graph = extractor.graph
    result = next(node for node in graph.nodes if node.op == "output")
    found = result.args[0]
    pooled = {}
    for tap in taps:
        with graph.inserting_after(found[tap.layer]):
            pooled[tap.name] = graph.call_function(pool, (found[tap.layer], *tap.pooling))
    result.args = ((found[output], pooled),)
    extractor.recompile()
    return extractor


def _hooked(network: nn.Module, taps: list[Tap]) -> TappedNetwork:
    """Read the outputs of modules, for networks whose graph cannot be traced."""
    modules = dict(network.named_modules())
    for tap in taps:
        _require(tap, [name for name in modules if name])

    def forward(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features: dict[str, Tensor] = {}

        def keep(tap: Tap) -> Callable[[nn.Module, object, Tensor], None]:
            return lambda _module, _inputs, activation: features.__setitem__(tap.name, pool(activation, *tap.pooling))

        handles = [modules[tap.layer].register_forward_hook(keep(tap)) for tap in taps]
        try:
            return network(image), features
        finally:
            for handle in handles:
                handle.remove()

    return forward


def _require(tap: Tap, known: list[str]) -> None:
    if tap.layer not in known:
        near = difflib.get_close_matches(tap.layer, known, n=5, cutoff=0.3) or known[:5]
        raise UserError(f"the network has no layer {tap.layer!r}; near it are {', '.join(near)}")
