"""A network that nobody trains: asked in a faster form, where a batch has shown that this is the network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_knn.backbones.examination import Examination, difference
from lit_knn.backbones.folding import foldable, folded
from lit_knn.backbones.outputs import WHATEVER, logits_of
from lit_knn.backbones.random_state import RandomState
from lit_knn.backbones.tapping import Tapping
from lit_knn.backbones.taps import Change, Tap
from lit_knn.errors import UserError, counted

COMPARED = 8  # images: what folding changes does not depend on them

log = logging.getLogger(__name__)


class FrozenNetwork:
    """Logits, activations and resumed passes of one network, all of the same form of it.

    That is the network itself until a batch has been examined, and again where one of its tensors is exchanged, written
    to or made to require a gradient after that. Other modules, and hooks, that it is given later are not noticed.

    Args:
        network: In evaluation mode; it shares its parameters and is not changed.
        output: Where its logits are, as `logits_of` takes it.
        name: What messages call it.
        fold: Let each BatchNorm be a part of the layer before it; see `foldable`. Their weights are held twice.
        compile: Let PyTorch compile what gives logits alone, which attacks climb.

    Attributes:
        examined: What may be read or resumed. Where it is cleared, the next examination starts from nothing.
    """

    def __init__(
        self,
        network: nn.Module,
        output: str | int | None = None,
        *,
        name: str = "",
        fold: bool = True,
        compile: bool = False,
    ) -> None:
        self._network, self._name = network, name
        self._fold, self._compile = fold, compile
        self._tapping = Tapping(network, output)
        self.examined = self._tapping.examined
        self._pairs: dict[str, str] = {}  # of `foldable`; none for the network as it is
        self._folded: Tapping | None = None
        self._made_of: list[tuple[dict[str, Any], str, Tensor, int, bool]] = []
        self._compiled: dict[Tapping, nn.Module] = {}

    def examine(self, image: Tensor, taps: Sequence[Tap], layers: Sequence[str] = ()) -> Examination:
        """Hold the graph, and the faster forms, to the network itself on a batch; see `Tapping.examine`.

        Layers that are read or changed, now or in what has been examined, keep the BatchNorms behind them.

        Args:
            image: ``(N, 3, H, W)`` normalized.
            taps: What will be read.
            layers: Where the network will be resumed.

        Raises:
            UserError: As `Tapping.examine`, or if the network was to be compiled and cannot be.
        """
        tapping, known, pairs = self._tapping, self._tapping.objection, self._pairs
        found = tapping.examine(image, taps, layers, untapped=self._fold)
        if tapping.objection != known:
            log.info("network %s is not asked by its graph, but by its modules: %s", self._name, tapping.objection)
        with RandomState(image.device):
            self._use({})
            if self._fold and tapping.graph is not None:
                self._use(foldable(self._network, tapping.graph, [tap.layer for tap in tapping.examined]))
            few = image[:COMPARED]
            if self._pairs and (why := difference(self._network, self._asked().network, few, taps, self.output)):
                log.info("network %s is not folded: %s", self._name, why)
                self._use({})
            if self._pairs and self._pairs != pairs:
                norms = counted(len(self._pairs), "BatchNorm is", "BatchNorms are")
                log.info("network %s is made faster: %s computed within the layers before", self._name, norms)
            if self._compile and (why := difference(self._network, self._answering(), image, [], self.output)):
                raise UserError(f"network {self._name} cannot be compiled ({why}): set its compile to false")
        return found

    @property
    def output(self) -> str | int | None:
        """Where the network's logits are, as `logits_of` takes it."""
        return self._tapping.output

    def need_no_logits(self) -> None:
        """Let the network return whatever it does, before anything is examined: activations alone will be asked for."""
        if self.output is None:
            self._tapping.output = WHATEVER

    def logits(self, image: Tensor) -> Tensor:
        """Return the logits ``(N, C)`` of normalized images ``(N, 3, H, W)``."""
        return logits_of(self._answering()(image), self.output, image)

    def tapped(self, image: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits and activations of what has been examined; see `Tapping.tapped`."""
        return self._asked().tapped(image, taps)

    def activations(self, image: Tensor, taps: Sequence[Tap]) -> dict[str, Tensor]:
        """Return activations alone; see `Tapping.activations`."""
        return self._asked().activations(image, taps)

    def resumed(self, image: Tensor, layer: str, change: Change) -> Tensor:
        """Return the logits with another activation at a layer; see `Tapping.resumed`."""
        return self._asked().resumed(image, layer, change)

    def forget(self) -> None:
        """Make all that is made of the network's tensors again when next asked: they are about to be replaced."""
        self._tapping.forget()
        self._use(self._pairs)

    def _use(self, pairs: dict[str, str]) -> None:
        self._pairs, self._folded = pairs, None
        self._compiled.clear()

    def _asked(self) -> Tapping:
        """Return the network that is asked: the folded one, while it is made of the tensors that the network has."""
        if not self._pairs:
            return self._tapping
        if self._folded is None:
            self._folded = Tapping(folded(self._network, self._pairs), self.output)
            self._made_of = [
                (held, name, value, value._version, value.requires_grad)
                for module in self._network.modules()
                for held in (module._parameters, module._buffers)
                for name, value in held.items()
                if value is not None and not value.is_inference()  # no version counter, no writes
            ]
        return self._folded if self._unchanged() else self._tapping

    def _answering(self) -> nn.Module:
        asked = self._asked()
        if not self._compile:
            return asked.network
        if asked not in self._compiled:
            self._compiled[asked] = torch.compile(asked.network)  # type: ignore[assignment]
        return self._compiled[asked]

    def _unchanged(self) -> bool:
        return all(
            held.get(name) is value and value._version == version and value.requires_grad == wanted
            for held, name, value, version, wanted in self._made_of
        )
