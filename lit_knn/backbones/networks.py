"""Networks by name: torchvision, timm, an import path, or a function in a user's file."""

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
from torch.nn.parameter import is_lazy

from lit_knn.backbones.user_code import user_code
from lit_knn.errors import TracedError, UserError

ACCEPTED = "accepted are torchvision/NAME, timm/NAME, package.module.function, and path/to/file.py:function"

SAYS_NOTHING = {"build", "create", "get", "load", "main", "make", "model", "net", "network"}


def network_name(network: str) -> str:
    """Return what tables call a network: its function, or where that is called ``build`` or the like, its file."""
    if network.startswith(("torchvision/", "timm/")):
        return network.partition("/")[2]
    *before, name = network.replace(".py:", "/").replace(":", "/").replace(".", "/").split("/")
    says = {*name.lower().split("_")} - SAYS_NOTHING
    return before[-1] if before and before[-1] and not says else name


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
    with user_code(f"network {network!r} cannot be built with {arguments}"):
        built = function(**arguments)
    if not isinstance(built, nn.Module):
        raise UserError(f"network {network!r} gives a {type(built).__name__}, not a torch.nn.Module")
    return unwrapped(built)


def given(network: nn.Module) -> nn.Module:
    """Return a network that is there already, for `build` by this function's name: it is not copied."""
    return network


def require_values(network: nn.Module, name: str) -> None:
    """Refuse a network with parameters or buffers that have no values: those of lazy modules, or on the meta device.

    Args:
        network: With its weights, if there is a file of them.
        name: What it is called.

    Raises:
        UserError: If it has any.
    """
    for key, value in (*network.named_parameters(), *network.named_buffers()):
        if is_lazy(value) or value.is_meta:
            how = "lazy modules get theirs in a first forward pass" if is_lazy(value) else "it is on the meta device"
            raise UserError(f"network {name}: {key!r} has no values ({how}): give it them before it is returned")


def unwrapped(network: nn.Module) -> nn.Module:
    """Return the network in what `torch.compile` and `nn.DataParallel` made of it or its parts: the same but for speed.

    Neither has layers that can be read, and a Trainer shares the work in another way.
    """
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(network.module)
    if isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
        return unwrapped(inner)
    if not isinstance(network, torch.jit.ScriptModule):
        if network._compiled_call_impl is not None:  # by module.compile()
            network._compiled_call_impl = None
        for name, part in list(network._modules.items()):  # named_children leaves out a second name of one module
            if part is not None:
                network.register_module(name, unwrapped(part))
    return network


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
        with user_code(f"network {network!r} cannot be imported"):
            return _attribute(importlib.import_module(module), name, network)
    except TracedError as error:
        cause = error.__cause__
        if isinstance(cause, ValueError) or (
            isinstance(cause, ModuleNotFoundError) and f"{module}.".startswith(f"{cause.name}.")
        ):  # a name that is none
            raise UserError(f"network {network!r} cannot be imported: {cause}; {ACCEPTED}") from cause
        raise


def _module_from_file(file: Path) -> object:
    if not file.is_file():
        raise UserError(f"network file {file} does not exist (looked from {Path.cwd()})")
    name = f"lit_knn_network_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"network file {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and tracing look a function's module up by name
    if (folder := str(file.parent.resolve())) not in sys.path:
        sys.path.append(folder)  # the last: a file may import those beside it, and none of them takes another's place
    with user_code(f"network file {file} cannot be imported"):
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
