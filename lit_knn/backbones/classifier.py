"""The classifier under attack: it owns its normalization, so that everything outside works in pixels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import torch
from torch import Tensor, nn

from lit_knn.backbones.class_order import ClassOrder
from lit_knn.backbones.frozen import FrozenNetwork
from lit_knn.backbones.listing import Layer, layers
from lit_knn.backbones.loading import load_weights
from lit_knn.backbones.networks import build, network_name, require_values
from lit_knn.backbones.precision import at_least_float32, network_precision
from lit_knn.backbones.preparation import cautions, normalization, own_preparation
from lit_knn.backbones.resizing import Resizing
from lit_knn.backbones.state_hash import state_hash
from lit_knn.backbones.taps import Change, Tap
from lit_knn.backbones.user_code import user_code
from lit_knn.storage.description import architecture

if TYPE_CHECKING:
    from lit_knn.data.preprocessing import Preprocessing

log = logging.getLogger(__name__)


@final  # and so YAML names its arguments without a class path
class Classifier(nn.Module):
    """A frozen network from pixels in [0, 1] to logits.

    Args:
        network: ``torchvision/resnet50``, ``timm/tf_efficientnet_lite0``, ``package.module.function`` or
            ``path/to/file.py:function``.
        arguments: Keyword arguments of that function, such as ``{num_classes: 10}`` or, for torchvision's own
            weights (downloaded if they are not cached), ``{weights: DEFAULT}``.
        weights: A state dict to load, in a file of ``torch.save`` or safetensors; by default the network stays as the
            function built it.
        weights_key: Which of the sets in that file, such as ``state_dict_ema``; by default there must be one.
        mean: Per channel, in pixels of [0, 1]; by default the network's own: that of its file, of timm's configuration
            or of torchvision's weights. Give that of any other network; it is ImageNet's, with a warning, otherwise.
        std: Per channel, in pixels of [0, 1]; as the mean.
        input_size: Pixels that the network is given, as one number or height and width: images of another size are
            resized within, so that attacks go through it; by default it takes them as they are.
        classes: Of each class of the labels, which of the network's it is, null for one that it does not know and never
            names; by default those of the labels are the network's.
        output: Where the logits are in what the network returns: a key of a dict, a position in a tuple, or the name of
            an attribute; by default it returns nothing else.
        channels_last: Keep weights and activations in that memory layout, which makes most convolutions faster.
        fold: Compute each BatchNorm as part of the convolution before it, where a first batch shows that this is the
            network to half of the digits: faster, with other last digits.
        compile: Let PyTorch compile what attacks climb, for a GPU; the first batches take minutes.
        name: What tables and figures call it; by default the last part of ``network`` that says something.

    Attributes:
        precision: What the network computes in, as a Trainer calls it; see `set_precision`. What it gives is float32 in
            any case, or float64.
        num_classes: C, of the labels, once a batch has been examined.
        passed: Number of images that it was given so far, as far as to a tap or to the logits.
        randomized: Whether each answer is another one; known then, too.
        warnings: What to know before the numbers are believed, in full sentences.
    """

    def __init__(
        self,
        *,
        network: str,
        arguments: dict[str, Any] | None = None,
        weights: str | Path | None = None,
        weights_key: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        input_size: int | Sequence[int] | None = None,
        classes: Sequence[int | None] | None = None,
        output: str | int | None = None,
        channels_last: bool = True,
        fold: bool = True,
        compile: bool = False,
        name: str = "",
    ) -> None:
        super().__init__()
        self.warnings: list[str] = []
        self.name = name or network_name(network)
        arguments = arguments or {}
        self.network = build(network, arguments).float()  # what it reads, and is attacked with, is float32
        self._architecture = architecture(self.network)  # before a forward pass leaves anything in it
        loaded = weights is not None or weights_key is not None
        carried = load_weights(self.network, weights, weights_key) if loaded else None
        require_values(self.network, self.name)
        self._own = own_preparation(network, arguments, self.network, carried)
        normalized = self._own is not None or (mean is not None and std is not None)
        for caution in cautions(network, arguments, loaded=loaded, normalized=normalized):
            self.warn(f"network {self.name} {caution}")
        rank = max((value.ndim for value in (*self.network.parameters(), *self.network.buffers())), default=0)
        self._layout = torch.channels_last if channels_last and rank <= 4 else torch.contiguous_format  # 5 of volumes
        self.network.to(memory_format=self._layout)
        self.mean: Tensor
        self.std: Tensor
        for kind, values in zip(("mean", "std"), normalization(self._own, mean, std), strict=True):
            self.register_buffer(kind, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1))
        self.precision = "32-true"
        self.requires_grad_(False).eval()
        self._output, self._resized, self._ordered = output, Resizing(input_size), ClassOrder(classes)
        self._frozen = FrozenNetwork(self.network, output, name=self.name, fold=fold, compile=compile)
        self.num_classes: int | None = None
        self.randomized, self.passed = False, 0

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(N, C)`` of images ``(N, 3, H, W)``, float32 in [0, 1]."""
        with self._computing(image):
            return self._ordered(at_least_float32(self._frozen.logits(self._input(image))))

    def examine(
        self,
        image: Tensor,
        taps: Sequence[Tap] = (),
        preprocessing: Preprocessing | None = None,
        *,
        layers: Sequence[str] = (),
    ) -> None:
        """Hold what is measured to the network itself, on a first batch: three forward passes at most, and one a layer.

        Logits and activations come from the network's graph, and from folded layers (tried on a few images), only if
        they are those of the network, with the random numbers that it draws. Random generators are left as they were.

        Args:
            image: ``(N, 3, H, W)`` float32 in [0, 1]; the same in all processes.
            taps: What will be read.
            preprocessing: What brought the images to their size, if anything: where the network was trained to see
                others, a warning says so.
            layers: Where the network will be resumed.

        Raises:
            UserError: If the network does not return logits ``(N, C)``, or there is no such layer.
        """
        self._frozen.examined.clear()  # what was read before is no part of this: it decides what is folded
        self._examine(image, taps, preprocessing, layers)

    def _examine(
        self, image: Tensor, taps: Sequence[Tap], preprocessing: Preprocessing | None, layers: Sequence[str]
    ) -> None:
        with self._computing(image):
            found = self._frozen.examine(self._input(image), taps, layers)
        self.num_classes = self._ordered.number(found.num_classes, self.name)
        self.randomized = found.randomized
        for caution in found.cautions():
            self.warn(f"network {self.name} {caution}")
        size, made = self._resized.size, None if self._resized.size else preprocessing  # what was cut is resized again
        if self._own and (caution := self._own.caution(size or tuple(image.shape[2:]), made)):
            self.warn(f"network {self.name} {caution}")

    def layers(self, image: Tensor) -> tuple[list[Layer], str]:
        """Return all that may be tapped for N > 1 images ``(N, 3, H, W)``, and why that is modules only, if it is."""
        with self._computing(image):
            return layers(self.network, self._input(image), self._frozen.output)

    def need_no_logits(self) -> None:
        """Let the network return whatever it does, before anything is examined: activations alone will be asked for."""
        self._frozen.need_no_logits()

    def _examine_new(self, image: Tensor, taps: Sequence[Tap] = (), layers: Sequence[str] = ()) -> None:
        if not self._frozen.examined.issuperset([*taps, *map(Tap, layers)]):
            self._examine(image, taps, None, layers)

    def warn(self, sentence: str) -> None:
        """Say something to know before the numbers are believed: at once, and in the record of the run."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)
            log.warning("%s", sentence)

    def normalize(self, image: Tensor) -> Tensor:
        """Return ``(image − mean) / std``, what the network sees."""
        return (image - self.mean) / self.std

    def _input(self, image: Tensor) -> Tensor:
        return self.normalize(self._resized(image)).contiguous(memory_format=self._layout)

    def tapped(self, image: Tensor, taps: Sequence[Tap]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits ``(N, C)`` and pooled activations ``{tap.name: (N, D)}`` of one forward pass.

        Args:
            image: ``(N, 3, H, W)`` float32 in [0, 1].
            taps: What to read.

        Raises:
            UserError: If the network has no such layer.
        """
        self._examine_new(image, taps)
        with self._computing(image):
            logits, pooled = self._frozen.tapped(self._input(image), taps)
            return self._ordered(at_least_float32(logits)), pooled

    def activations(self, image: Tensor, taps: Sequence[Tap]) -> dict[str, Tensor]:
        """Return pooled activations ``{tap.name: (N, D)}`` without the layers behind the last of them.

        Args:
            image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1].
            taps: What to read.
        """
        self._examine_new(image, taps)
        with self._computing(image):
            return self._frozen.activations(self._input(image), taps)

    def resume(self, image: Tensor, layer: str, change: Change) -> Tensor:
        """Return the logits ``(N, C)`` that the network comes to from a layer on, with another activation there.

        Whatever does not pass the layer, such as a skip connection around it, is as the image has it.

        Args:
            image: ``(N, 3, H, W)`` float32 (or float64) in [0, 1].
            layer: A graph node or module, as a tap names it.
            change: What the layer gives for the images → what the network goes on with, of the same shape and dtype.

        Raises:
            UserError: If there is no such layer, or the change has another shape.
        """
        self._examine_new(image, layers=[layer])
        with self._computing(image):
            return self._ordered(at_least_float32(self._frozen.resumed(self._input(image), layer, change)))

    @contextmanager
    def _computing(self, image: Tensor) -> Iterator[None]:
        self.passed += len(image)
        size, who = self._resized.size, f"network {self.name}"
        seen, by = (image.shape[2:], "data.preprocessing") if size is None else (size, "its input_size")
        failed = f"{who} failed on images {(*image.shape[:2], *seen)}, RGB and as large as {by} says"
        with network_precision(self.precision, image.device), user_code(failed, who):
            yield

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: batch statistics and dropout would change what is measured."""
        del mode
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast; buffers are replaced, which a graph would not notice."""
        self._frozen.forget()
        super()._apply(fn, recurse)
        return self

    def fingerprint(self) -> str:
        """Return a hash of parameters, buffers, constants, what the network does with them, and the precision."""
        weights = state_hash(self, f"{self._architecture}{self._output!r}{self._resized}{self._ordered}")
        precision = "" if self.precision == "32-true" else f" in {self.precision}"
        return f"{self.name}-{weights}{precision}"
