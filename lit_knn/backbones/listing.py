"""What a network can be tapped at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, fx, nn

from lit_knn.backbones.outputs import logits_of
from lit_knn.backbones.random_state import RandomState
from lit_knn.backbones.tapping import Tapping
from lit_knn.backbones.taps import read
from lit_knn.errors import UserError


class Layer(NamedTuple):
    """A name that a tap may have.

    Attributes:
        name: Of a graph node or a module.
        shape: Of its activation for one image.
        pooled: Length of the pooled activation with ``pool: 1``; None where the tap has to say its ``channels``.
        traced: Whether it is read from the network's graph; else at a module.
    """

    name: str
    shape: tuple[int, ...]
    pooled: int | None
    traced: bool


def layers(network: nn.Module, image: Tensor, output: str | int | None = None) -> tuple[list[Layer], str]:
    """Return all that a network can be tapped at, in the order in which it is computed, and why its graph is not used.

    Args:
        network: In evaluation mode.
        image: ``(N, 3, H, W)`` normalized, of two images or more, so that their dimension can be told from others.
        output: Where its logits are, as `logits_of` takes it.

    Raises:
        UserError: If the network does not return logits.
    """
    found: dict[str, Layer] = {}

    def see(name: str, value: object, traced: bool) -> None:
        if name not in found and (layer := _layer(name, value, image, traced)):
            found[name] = layer

    tapping = Tapping(network, output)
    with RandomState(image.device), torch.no_grad():
        trace = tapping.trusted(image)
        if trace is not None:
            _Walk(trace.module(), trace.nodes, see).run(image.clone())
        calls: Counter[str] = Counter()

        def called(name: str, value: object) -> None:
            see(f"{name}_{calls[name]}" if calls[name] else name, value, False)
            calls[name] += 1

        handles = [
            module.register_forward_hook(lambda _module, _inputs, value, name=name: called(name, value))
            for name, module in network.named_modules()
            if name and not isinstance(module, torch.jit.ScriptModule)
        ]
        try:
            logits_of(network(image.clone()), output, image)
        finally:
            for handle in handles:
                handle.remove()
    return list(found.values()), tapping.objection


class _Walk(fx.Interpreter):
    """Runs a graph and shows the value of each named node before a later one overwrites it."""

    def __init__(
        self, module: fx.GraphModule, nodes: dict[str, fx.Node], see: Callable[[str, object, bool], None]
    ) -> None:
        super().__init__(module)
        self._names: dict[str, list[str]] = {}
        for name, node in nodes.items():
            self._names.setdefault(node.name, []).append(name)
        self._see = see

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        for name in self._names.get(n.name, []):
            self._see(name, value, True)
        return value


def _layer(name: str, value: object, image: Tensor, traced: bool) -> Layer | None:
    """Return what a value would be as a tap, or None if it cannot be one."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    choices: tuple[Literal["first"] | None, ...] = (None, "first")
    for channels in choices:
        try:
            length = read(value, image, name, 1, channels).shape[1]
        except UserError:  # one that cannot be, or not without being told more
            continue
        return Layer(name, tuple(value.shape[1:]), None if channels else length, traced)
    return None
