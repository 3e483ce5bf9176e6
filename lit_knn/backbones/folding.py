"""BatchNorm as a part of the convolution before it: what a frozen network gives, with fewer passes over memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from lit_knn.backbones.stem import convolve, is_stem
from lit_knn.backbones.tracing import Trace, sharing_copy

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def foldable(network: nn.Module, trace: Trace, kept: Collection[str] = ()) -> dict[str, str]:
    """Return each BatchNorm that can be a part of a convolution or linear layer: that alone reads what the layer gives.

    At each call of the layer, and at no other: a module may be called more than once.

    Args:
        network: In evaluation mode.
        trace: Its graph.
        kept: Layers that are read or changed, which have to give what they give.

    Returns:
        Name of the layer → that of the BatchNorm.
    """
    wanted = {trace.nodes[name] for name in kept if name in trace.nodes}
    calls: dict[str, list[fx.Node]] = {}
    looked_at: set[str] = set()  # modules whose parameters are used by name, too
    for node in trace.graph.nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
        elif node.op == "get_attr":
            looked_at.add(str(node.target).rpartition(".")[0])
    found = {}
    for layer, nodes in calls.items():
        readers = {user for node in nodes for user in node.users}
        norm = str(next(iter(readers)).target) if readers else ""
        alone = all(len(node.users) == 1 for node in nodes) and readers == set(calls.get(norm, []))
        if not alone or layer in looked_at or not wanted.isdisjoint(nodes):
            continue
        names = layer.removeprefix("network."), norm.removeprefix("network.")
        if _fit(*map(network.get_submodule, names)):
            found[names[0]] = names[1]
    taken = {name.removeprefix("network.") for name in (*calls, *looked_at)} | {*kept}
    for layer in calls:
        found |= _foldable_inside(network, layer.partition(".")[2], taken)
    return found


def _foldable_inside(network: nn.Module, node: str, taken: Collection[str]) -> dict[str, str]:
    """Return what `foldable` does of the children of a sequence that the graph shows as one node, as torchvision's."""
    sequence = network.get_submodule(node)
    if not isinstance(sequence, nn.Sequential) or type(sequence).forward is not nn.Sequential.forward:
        return {}
    names = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    children = [(f"{node}.{key}".lstrip("."), child) for key, child in sequence._modules.items() if child is not None]
    return {
        layer: norm
        for (layer, linear), (norm, batch_norm) in pairwise(children)
        if _fit(linear, batch_norm) and names[id(linear)] == names[id(batch_norm)] == 1  # and so in no other sequence
        if not any(name == part or name.startswith(f"{part}_") for name in taken for part in (layer, norm))
    }


def folded(network: nn.Module, pairs: Mapping[str, str]) -> nn.Module:
    """Return a copy of a network in which layers do what the BatchNorms behind them did, and those do nothing.

    It shares all tensors but the weights and biases of these layers, which are computed in float64. Its first
    convolution has a quick gradient of the image; see `convolve`.

    Args:
        network: Not changed.
        pairs: As `foldable` returns them.

    References:
        Jacob et al. 2018, Section 3.2, Equation 14.
    """
    result = sharing_copy(network)
    with torch.inference_mode(False), torch.no_grad():  # attacks need gradients, whoever asked first
        for layer, norm in pairs.items():
            linear, batch_norm = result.get_submodule(layer), result.get_submodule(norm)
            if isinstance(linear, nn.Linear | _ConvNd) and isinstance(batch_norm, _BatchNorm):
                weight, bias = _weights(linear, batch_norm)
                linear.bias = nn.Parameter(bias.to(linear.weight), requires_grad=False)
                weight = torch.empty_like(linear.weight).copy_(weight)  # in its memory layout
                linear.weight = nn.Parameter(weight, requires_grad=False)
                if is_stem(linear):
                    linear.forward = partial(convolve, linear)  # type: ignore[method-assign]
                batch_norm.forward = _as_it_is  # type: ignore[method-assign] # its owner may ask for more
    return result


def _fit(linear: nn.Module, norm: nn.Module) -> bool:
    """Return whether two modules do what PyTorch's do, the second by fixed moments of the first one's channels."""
    if not (
        isinstance(linear, nn.Linear | _ConvNd) and isinstance(norm, _BatchNorm) and _plain(linear) and _plain(norm)
    ):
        return False
    if isinstance(linear, nn.Linear) and not isinstance(norm, nn.BatchNorm1d):  # which looks at other channels
        return False
    channels = linear.out_features if isinstance(linear, nn.Linear) else linear.out_channels
    fixed = not norm.training and norm.running_mean is not None and norm.running_var is not None
    return fixed and norm.num_features == channels


def _plain(module: nn.Module) -> bool:
    """Return whether a module is PyTorch's own, with nothing of the user's in it, such as a parametrization."""
    own = type(module).__module__.startswith("torch.nn.modules.") and "forward" not in vars(module)
    return own and not any(getattr(module, hooks) for hooks in HOOKS)


def _weights(linear: nn.Linear | _ConvNd, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a layer and the BatchNorm behind it, float64 on the CPU."""

    def exactly(value: Tensor | None, default: float) -> Tensor:
        return torch.tensor(default, dtype=torch.float64) if value is None else value.to("cpu", torch.float64)

    scale = exactly(norm.weight, 1) / (exactly(norm.running_var, 1) + norm.eps).sqrt()  # (channels)
    bias = exactly(norm.bias, 0) + (exactly(linear.bias, 0) - exactly(norm.running_mean, 0)) * scale
    weight = exactly(linear.weight, 0)
    if isinstance(linear, nn.Linear) or not linear.transposed:
        return weight * scale.view(-1, *[1] * (weight.ndim - 1)), bias
    grouped = weight.unflatten(0, (linear.groups, -1))  # (groups, in / groups, channels / groups, …)
    return (grouped * scale.view(linear.groups, 1, -1, *[1] * (weight.ndim - 2))).flatten(0, 1), bias


def _as_it_is(input: Tensor) -> Tensor:
    return input
