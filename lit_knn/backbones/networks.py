"""Networks by name: torchvision, timm, an import path, or a function in a user's file; weights from a state dict."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lit_knn.errors import UserError

ACCEPTED = "accepted are torchvision/NAME, timm/NAME, package.module.function, and path/to/file.py:function"


def build(network: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a network.

    Args:
        network: ``torchvision/resnet50``, ``timm/tf_efficientnet_lite0``, ``package.module.function`` or
            ``path/to/file.py:function``. The last two run the named Python code.
        arguments: Keyword arguments of that function.

    Raises:
        UserError: If there is no such function, or it does not take these arguments or give a module.
    """
    function = _factory(network)
    try:
        built = function(**arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"network {network!r} cannot be built with {arguments}: {_first_line(error)}") from error
    if not isinstance(built, nn.Module):
        raise UserError(f"network {network!r} gives a {type(built).__name__}, not a torch.nn.Module")
    return built


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Load a state dict, strictly; nothing but tensors is unpickled.

    Args:
        network: Changed in place.
        path: A file that ``torch.load(weights_only=True)`` reads: a state dict, or a dict that holds one under
            ``state_dict`` or ``model``. The prefix ``module.`` of DataParallel is dropped.

    Raises:
        UserError: If the file is missing, holds something else, or does not fit the network.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights {path} do not exist (looked from {Path.cwd()})")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of the unpickler
        raise UserError(f"weights {path} cannot be read with weights_only=True: {_first_line(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict):
        raise UserError(f"weights {path} hold a {type(state).__name__}; a state dict is accepted")
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise UserError(f"weights {path} do not fit the network: {detail[:300]}") from error


def _factory(network: str) -> Callable[..., Any]:
    if network.startswith("torchvision/"):
        from torchvision.models import get_model, list_models

        name = network.removeprefix("torchvision/")
        return lambda **arguments: get_model(_known(name, list_models(), network), **arguments)
    if network.startswith("timm/"):
        try:
            import timm
        except ImportError as error:
            raise UserError(f"network {network!r} needs timm: pip install 'lit_knn[timm]'") from error
        name = network.removeprefix("timm/")
        return lambda **arguments: timm.create_model(_known(name, timm.list_models(), network), **arguments)
    if ".py:" in network:
        file, name = network.rsplit(":", 1)
        return _attribute(_module_from_file(Path(file)), name, network)
    module, _, name = network.rpartition(".")
    try:
        return _attribute(importlib.import_module(module), name, network)
    except (ImportError, ValueError) as error:
        raise UserError(f"network {network!r} cannot be imported: {_first_line(error)}; {ACCEPTED}") from error


def _module_from_file(file: Path) -> object:
    if not file.is_file():
        raise UserError(f"network file {file} does not exist (looked from {Path.cwd()})")
    name = f"lit_knn_network_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"network file {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and tracing look a function's module up by name
    spec.loader.exec_module(module)
    return module


def _attribute(module: object, name: str, network: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(name, public, n=5, cutoff=0.3) or public[:5]
        raise UserError(f"network {network!r}: there is no function {name!r}; near it are {', '.join(near)}")
    return found  # type: ignore[no-any-return]


def _known(name: str, known: list[str], network: str) -> str:
    if name.split(".")[0] not in known:  # timm names may carry a weights tag behind a dot
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.3)
        raise UserError(f"network {network!r} is unknown; near it are {', '.join(near)}; {ACCEPTED}")
    return name


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
