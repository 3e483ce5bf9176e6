"""Activations read at the modules of the network itself, whatever its Python code does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import count

import torch
from torch import Tensor, nn

from lit_knn.backbones.outputs import logits_of
from lit_knn.backbones.taps import Change, ResumedNetwork, Tap, TappedNetwork, changed, read
from lit_knn.errors import UserError


def modules_by_tap(network: nn.Module, layers: Collection[str]) -> dict[str, tuple[nn.Module, int]]:
    """Return which module each layer is, and at which of its calls: as graph nodes, later calls end in ``_1``, ``_2``.

    Args:
        network: Holds the modules.
        layers: Names; those that are no module are left out.
    """
    modules = {name: module for name, module in network.named_modules() if name}
    found: dict[str, tuple[nn.Module, int]] = {}
    for layer in layers:
        name, _, call = layer.rpartition("_")
        if layer in modules:
            found[layer] = modules[layer], 0
        elif name in modules and call.isdecimal() and int(call):
            found[layer] = modules[name], int(call)
    return found


def hooked(network: nn.Module, taps: Sequence[Tap], output: str | int | None) -> TappedNetwork:
    """Return a function that runs the network as it is and reads each tap before a later module overwrites it.

    Args:
        network: In evaluation mode; not changed.
        taps: Modules.
        output: Where its logits are, as `logits_of` takes it.

    Returns:
        Images ``(N, 3, H, W)`` → logits ``(N, C)`` and ``{tap.name: (N, D)}``.
    """
    modules = modules_by_tap(network, [tap.layer for tap in taps])
    for tap in taps:
        _require_python(modules[tap.layer][0], f"tap {tap.name!r}")

    def forward(image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        features: dict[str, Tensor] = {}

        def keep(tap: Tap, call: int) -> Callable[[nn.Module, object, object], None]:
            calls = count()

            def hook(_module: nn.Module, _inputs: object, activation: object) -> None:
                if next(calls) == call:
                    features[tap.name] = read(activation, image, tap.name, *tap.pooling)

            return hook

        handles = [
            module.register_forward_hook(keep(tap, call)) for tap in taps for module, call in [modules[tap.layer]]
        ]
        try:
            logits = logits_of(network(image), output, image)
        finally:
            for handle in handles:
                handle.remove()
        if missed := [tap.name for tap in taps if tap.name not in features]:
            raise UserError(
                f"tap {missed[0]!r} gave no activation for a batch of {len(image)} images: the network did not call "
                "this module; tap one that each image passes"
            )
        return logits, features

    return forward


def resumed(network: nn.Module, layer: str, output: str | int | None) -> ResumedNetwork:
    """Return a function that runs the network as it is and goes on from a module with a change of what it returned.

    Args:
        network: In evaluation mode; not changed.
        layer: A module.
        output: Where its logits are, as `logits_of` takes it.

    Returns:
        Images ``(N, 3, H, W)`` and the change → logits ``(N, C)``.
    """
    module, call = modules_by_tap(network, [layer])[layer]
    _require_python(module, f"layer {layer!r}")

    def forward(image: Tensor, change: Change) -> Tensor:
        calls = count()

        def hook(_module: nn.Module, _inputs: object, activation: object) -> Tensor | None:
            return changed(activation, change, layer) if next(calls) == call else None

        handle = module.register_forward_hook(hook)
        try:
            logits = logits_of(network(image), output, image)
        finally:
            handle.remove()
        if next(calls) <= call:
            raise UserError(f"the network did not call its module {layer!r}: name one that each image passes")
        return logits

    return forward


def _require_python(module: nn.Module, called: str) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError(
            f"{called} is a module of TorchScript, which cannot be read: give the Python network that it was made from"
        )
