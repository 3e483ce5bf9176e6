"""The graph of a network: the nodes between its modules, and any beginning of it."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torchvision
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from lit_knn.backbones.outputs import logits_of
from lit_knn.backbones.taps import ResumedNetwork, Tap, TappedNetwork, changed, read


class Trace:
    """What a network does with a batch of images, recorded once without any.

    Whatever depends on more than operations on the images is recorded as it was then: random numbers that are drawn
    elsewhere, values of ``isinstance``. Whether the record is the network has to be tried.

    Args:
        network: In evaluation mode. It is not changed, not even by what its ``forward`` keeps, and shares its
            parameters and buffers with the record.

    Attributes:
        graph: What is done, in order; modules are below ``network``.
        nodes: By name: of a function as torchvision calls it; of a module its own, for what it returned at its first
            call, and with ``_1``, ``_2`` for those at later ones.

    Raises:
        Exception: Whatever a network makes of values that it cannot look at.
    """

    def __init__(self, network: nn.Module) -> None:
        tracer = _Tracer()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns about every shape a network looks at
            self.graph = tracer.trace(_OneInput(sharing_copy(network)).eval())
        self._root = tracer.root
        given = next(iter(inspect.signature(network.forward).parameters), "")
        self.nodes: dict[str, fx.Node] = {given: next(iter(self.graph.nodes))}
        for node, name in tracer.node_to_qualname.items():
            if node.op in ("call_function", "call_method"):
                self.nodes[name.removeprefix("network.")] = node
        # Not torchvision's names, which take a number at the end of any name for that of a call: its `ln_1` is `ln_2`.
        for name, returned in tracer.returned.items():
            for call, value in enumerate(returned):
                called = name if call == 0 else f"{name}_{call}"
                if isinstance(value, fx.Proxy) and (call == 0 or called not in tracer.returned):
                    self.nodes[called] = value.node

    def module(self) -> fx.GraphModule:
        """Return the whole record, which gives what the network gives."""
        return fx.GraphModule(self._root, self.graph)

    def tapped(self, taps: Sequence[Tap], output: str | int | None, *, logits: bool = True) -> TappedNetwork:
        """Return a function that gives the logits and every pooled tap in one forward pass.

        Args:
            taps: Nodes.
            output: Where the network's logits are, as `logits_of` takes it.
            logits: Whether they are wanted. Without them nothing behind the last tap is run, and zeros stand in their
                place.

        Returns:
            Images ``(N, 3, H, W)`` → logits ``(N, C)`` and ``{tap.name: (N, D)}``.
        """
        waiting: dict[fx.Node, list[Tap]] = {}
        for tap in taps:
            waiting.setdefault(self.nodes[tap.layer], []).append(tap)
        graph, copies, pooled = fx.Graph(), dict[fx.Node, fx.Node](), dict[str, fx.Node]()
        image = next(iter(self.graph.nodes))
        result: Any = None
        for node in self.graph.nodes:
            # A beginning, and none of it left out: what seems to be unused may have changed a tensor in place.
            if node.op == "output":
                result = fx.node.map_arg(node.args[0], copies.__getitem__)
                break
            copies[node] = graph.node_copy(node, copies.__getitem__)
            for tap in waiting.pop(node, []):  # now: a following ReLU(inplace=True) would overwrite it
                arguments = (copies[node], copies[image], tap.name, *tap.pooling)
                pooled[tap.name] = graph.call_function(read, arguments)
            if not (waiting or logits):
                break
        found = graph.call_function(logits_of, (result, output, copies[image])) if logits else None
        graph.output((found, pooled))
        return fx.GraphModule(self._root, graph)

    def resumed(self, layer: str, output: str | int | None) -> ResumedNetwork:
        """Return a function that runs the network and goes on from a layer with what a change makes of its activation.

        Args:
            layer: A node.
            output: Where the network's logits are, as `logits_of` takes it.

        Returns:
            Images ``(N, 3, H, W)`` and the change → logits ``(N, C)``.
        """
        graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        image = graph.placeholder("image")
        change = graph.placeholder("change")
        for node in self.graph.nodes:
            if node.op == "output":
                result = fx.node.map_arg(node.args[0], copies.__getitem__)
                graph.output(graph.call_function(logits_of, (result, output, image)))
                break
            copies[node] = image if node.op == "placeholder" else graph.node_copy(node, copies.__getitem__)
            if node is self.nodes[layer]:
                copies[node] = graph.call_function(changed, (copies[node], change, layer))
        return fx.GraphModule(self._root, graph)


def sharing_copy(network: nn.Module) -> nn.Module:
    """Return a copy of a network that shares its parameters and buffers."""
    return copy.deepcopy(network, {id(tensor): tensor for tensor in chain(network.parameters(), network.buffers())})


class _OneInput(nn.Module):
    """A network as it is called: its other arguments keep their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Any:
        return self.network(image)


class _Tracer(NodePathTracer):
    """torchvision's, and what each module returns."""

    def __init__(self) -> None:
        operations = [part for part in vars(torchvision.ops).values() if inspect.isclass(part)]
        super().__init__(
            autowrap_modules=(math, torchvision.ops),
            leaf_modules=[part for part in operations if issubclass(part, nn.Module)],
        )
        self.returned: dict[str, list[Any]] = {}  # by module, at each of its calls

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        result = super().call_module(m, forward, args, kwargs)
        if inside := self.path_of_module(m).removeprefix("network").removeprefix("."):
            self.returned.setdefault(inside, []).append(result)
        return result
