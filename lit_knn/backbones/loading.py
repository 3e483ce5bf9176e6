"""Weights from a file: a state dict, wherever in the file it lies; nothing but tensors is ever read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lit_knn.backbones.carried import Normalization, carried, is_normalization
from lit_knn.backbones.weight_files import read_tensors
from lit_knn.errors import UserError

COUNTED = ("total_ops", "total_params")  # what thop leaves beside weights
OPTIONAL = "num_batches_tracked"  # which old files lack, and which only training asks for


def load_weights(network: nn.Module, path: str | Path | None, key: str | None = None) -> Normalization | None:
    """Load a state dict, strictly.

    It is found under any key of the file, nested or not, and with any prefix before all its names (``module.``,
    ``_orig_mod.``, ``model.``, ``backbone.``).

    Args:
        network: Changed in place.
        path: As `read_tensors` takes it; None, where only a key has been given, is refused.
        key: Where the weights are, if the file holds several sets: names up to there, joined by dots.

    Returns:
        Mean and std that the file carries beside the network's weights, as far as there are some that make sense.

    Raises:
        UserError: If the file holds no weights of this network, or several that differ.
    """
    if path is None:
        raise UserError(f"weights_key is {key!r}, but there are no weights beside it")
    tensors = dict(_flat(read_tensors(path)))
    if not tensors:
        raise UserError(f"weights {path} hold no tensors; a state dict is accepted")
    state = network.state_dict()
    found = {prefix: _below(tensors, prefix) for prefix in _prefixes(tensors, state)}
    if key is not None:
        wanted = f"{key.rstrip('.')}." if key else ""
        near = {prefix: below for prefix, below in found.items() if prefix.startswith(wanted)}
        if not near:
            sets = _listed(found) or "nothing that fits"
            raise UserError(f"weights {path} hold no weights of the network under {key!r}; there is {sets}")
        found = near
    fitting = {prefix: below for prefix, below in found.items() if not _misfit(below, state)}
    if not fitting:
        likely = max(found.values(), key=lambda below: len(below.keys() & state.keys()), default=tensors)
        raise UserError(f"weights {path} do not fit the network: {_misfit(likely, state)}")
    first, *others = fitting
    if any(not _equal(fitting[first], fitting[other]) for other in others):
        raise UserError(
            f"weights {path} hold {len(fitting)} sets that differ, {_listed(fitting)}: name one with weights_key"
        )
    network.load_state_dict({**state, **{name: fitting[first][name] for name in state.keys() & fitting[first].keys()}})
    own = {f"{prefix}{name}" for prefix in fitting for name in state}  # which the network applies itself
    return carried({name: tensor for name, tensor in tensors.items() if name not in own})


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested dicts and lists, under their names joined by dots."""
    if isinstance(value, Tensor):
        yield prefix[:-1], value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{prefix}{name}.")
    elif isinstance(value, tuple | list):
        for name, part in enumerate(value):
            yield from _flat(part, f"{prefix}{name}.")


def _prefixes(names: Iterable[str], state: Mapping[str, object]) -> list[str]:
    """Return what stands before names of the network, if it does before at least half of them."""
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        for first in range(len(parts)):
            if ".".join(parts[first:]) in state:
                counts["".join(f"{part}." for part in parts[:first])] += 1
    return [prefix for prefix, count in counts.items() if count * 2 >= len(_needed(state))]


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix) and not name.endswith(COUNTED)
    }


def _needed(state: Mapping[str, object]) -> dict[str, Tensor]:
    return {n: t for n, t in state.items() if isinstance(t, Tensor) and not n.endswith(OPTIONAL)}


def _misfit(found: Mapping[str, Tensor], state: Mapping[str, object]) -> str:
    """Return what does not fit, or nothing; a name that shares the tensor of another needs only one of the two."""
    needed = _needed(state)
    there = {needed[name].data_ptr() for name in found.keys() & needed.keys()}
    lacking = [name for name, tensor in needed.items() if name not in found and tensor.data_ptr() not in there]
    beside = {name for name, tensor in found.items() if is_normalization(name, tensor)} if carried(found) else set()
    surplus = [name for name in found if name not in state and name not in beside]
    if lacking or surplus:
        theirs = f"it has {_some(surplus, found)}" if surplus else "it has nothing else"
        ours = f"the network has {_some(lacking, needed)}" if lacking else "which the network lacks"
        return f"{theirs} where {ours}" if lacking else f"{theirs}, {ours}"
    for name in found.keys() & needed.keys():
        if found[name].shape != needed[name].shape:
            shapes = f"{tuple(found[name].shape)} in the file, {tuple(needed[name].shape)} in the network"
            return f"size mismatch for {name}, {shapes}"
    return ""


def _some(names: list[str], tensors: Mapping[str, Tensor]) -> str:
    shown = " and ".join(f"{name!r} {tuple(tensors[name].shape)}" for name in names[:2])
    return f"{shown} and {len(names) - 2} more" if len(names) > 2 else shown


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def _listed(prefixes: Iterable[str]) -> str:
    names = [repr(prefix.removesuffix(".")) if prefix else "the outermost names" for prefix in prefixes]
    return " and ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
