"""How the taps of a network are read: from its graph, where that is the network, or else at its modules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_knn.backbones.examination import Examination, examine
from lit_knn.backbones.hooking import hooked, modules_by_tap, resumed
from lit_knn.backbones.random_state import RandomState
from lit_knn.backbones.taps import Change, ResumedNetwork, Tap, TappedNetwork, unknown_layer
from lit_knn.backbones.tracing import Trace
from lit_knn.backbones.user_code import asks_to_stop
from lit_knn.errors import UserError, first_line


class Tapping:
    """The taps of one network.

    Args:
        network: In evaluation mode; it shares its parameters and is not changed.
        output: Where its logits are, as `logits_of` takes it.

    Attributes:
        network: The same.
        output: The same.
        examined: What has been held to the network.
        objection: Why the network's graph is not used, in words; empty while it is.
        graph: What has been recorded of the network, once a batch has shown that it is the network.
    """

    def __init__(self, network: nn.Module, output: str | int | None = None) -> None:
        self.network, self.output = network, output
        self._trace: Trace | None = None
        self._readers: dict[tuple[tuple[Tap, ...], bool], TappedNetwork] = {}
        self._resumed: dict[str, ResumedNetwork] = {}
        self.examined: set[Tap] = set()
        self.objection = ""
        self.graph: Trace | None = None

    def examine(
        self, image: Tensor, taps: Sequence[Tap], layers: Sequence[str] = (), *, untapped: bool = False
    ) -> Examination:
        """Hold the graph to the network on a batch; where it is another one, modules are tapped from now on.

        Generators of random numbers are left as they were.

        Args:
            image: ``(N, 3, H, W)`` normalized.
            taps: What will be read.
            layers: Where the network will be resumed; one more pass for each.
            untapped: Hold the graph to the network even where nothing is read.

        Raises:
            UserError: If a layer does not exist, the network does not return logits, or taps have no activations.
        """
        used = [*taps, *map(Tap, layers)]
        with RandomState(image.device):
            trace = self._source(used) if used or not untapped else self._traced()
            found = examine(self.network, trace, image, taps, self.output)
            self.graph = None if found.objection else trace
            if found.objection:
                self.objection = found.objection
                self.forget()
                self._source(used)
            for layer in layers:
                self.resumed(image.clone(), layer, lambda activation: activation)
        self.examined.update(used)
        return found

    def tapped(self, image: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits ``(N, C)`` and ``{tap.name: (N, D)}`` of normalized images ``(N, 3, H, W)``.

        Args:
            image: ``(N, 3, H, W)`` normalized.
            taps: What has been examined.
        """
        return self._reader(taps, logits=True)(image)

    def activations(self, image: Tensor, taps: Sequence[Tap]) -> dict[str, Tensor]:
        """Return the same activations; the layers behind the last of them are not run, where there is a graph."""
        return self._reader(taps, logits=False)(image)[1]

    def resumed(self, image: Tensor, layer: str, change: Change) -> Tensor:
        """Return the logits ``(N, C)`` of normalized images, going on from an examined layer with a change."""
        layer = (tap := Tap(layer)).layer
        if layer not in self._resumed:
            trace = self._source([tap])
            self._resumed[layer] = (
                resumed(self.network, layer, self.output) if trace is None else trace.resumed(layer, self.output)
            )
        return self._resumed[layer](image, change)

    def forget(self) -> None:
        """Record the graph again when next asked: the network's tensors were replaced, or it is not the network."""
        self._trace = self.graph = None
        self._readers.clear()
        self._resumed.clear()

    def _reader(self, taps: Sequence[Tap], *, logits: bool) -> TappedNetwork:
        key = tuple(taps), logits
        if key not in self._readers:
            trace = self._source(taps)
            self._readers[key] = (
                hooked(self.network, taps, self.output)
                if trace is None
                else trace.tapped(taps, self.output, logits=logits)
            )
        return self._readers[key]

    def trusted(self, image: Tensor) -> Trace | None:
        """Return the network's graph if its logits are those of the network on a batch, or None.

        Args:
            image: ``(N, 3, H, W)`` normalized.
        """
        if (trace := self._traced()) is None:
            return None
        self.objection = examine(self.network, trace, image, [], self.output).objection
        return None if self.objection else trace

    def _traced(self) -> Trace | None:
        if self._trace is None and not self.objection:
            try:
                self._trace = Trace(self.network)
            except (Exception, SystemExit) as error:  # Python control flow on tensors may fail with anything
                if asks_to_stop(error):
                    raise
                self.objection = f"it cannot be traced ({first_line(error)})"
        return self._trace

    def _source(self, taps: Sequence[Tap]) -> Trace | None:
        """Return the graph if it has all taps, or None if they are modules."""
        if not taps:
            return None
        trace = self._traced()
        nodes = {} if trace is None else trace.nodes
        modules = modules_by_tap(self.network, [tap.layer for tap in taps])
        if all(tap.layer in nodes for tap in taps):
            return trace
        known = [*nodes, *(name for name, _ in self.network.named_modules() if name and name not in nodes)]
        why = f" among its modules, and its graph cannot be used: {self.objection}" if self.objection else ""
        for tap in taps:
            if tap.layer not in modules and tap.layer not in nodes:
                raise unknown_layer(tap, known, why)
        if node := next((tap for tap in taps if tap.layer not in modules), None):
            inner = next(tap for tap in taps if tap.layer not in nodes)
            raise UserError(
                f"taps {node.name!r} and {inner.name!r} cannot be read together: the network's graph has the first and "
                "the second is a module that it does not show; tap modules only"
            )
        return None


def require_layers(network: nn.Module, taps: Sequence[Tap]) -> None:
    """Refuse taps at layers that a network does not have, without an image.

    Cost:
        One recording of its graph, below a second.

    Args:
        network: In evaluation mode.
        taps: What will be read.

    Raises:
        UserError: If there is no such layer.
    """
    with RandomState(next((weight.device for weight in network.parameters()), torch.device("cpu"))):
        Tapping(network)._source(taps)
