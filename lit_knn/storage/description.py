"""What decides what a part does, as JSON: the values of a `lit_knn.storage.fingerprint.Fingerprint`."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import math
import sys
import textwrap
from collections.abc import Collection, Iterable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import digest
from lit_knn.storage.kinds import is_ours, kind

INSTALLED = {"site-packages", "dist-packages"}
MODULE = frozenset(vars(nn.Module()))  # what PyTorch keeps of each module, of which these decide what it does:
WEIGHTS = ("_parameters", "_buffers", "_modules")
PRINTED = (torch.dtype, torch.device, torch.layout, torch.memory_format, complex, range, slice, type(...))


def describe(part: Any) -> Any:
    """Return what decides what a part does, as JSON: its class, its attributes, and those of its own parts.

    A part that has a method ``identity`` or ``fingerprint`` is what that returns. Attributes with a leading underscore
    are left out of the classes of this package, which derive them, and of no others. Of a class or function that no
    installed version stands for, the source code is described as well; what that calls is not.

    Raises:
        UserError: For what nothing tells from another of its kind: a lambda, a lock, an open file.
    """
    try:
        return _describe(part)
    except RecursionError as error:
        raise UserError(f"{type(part).__qualname__} holds itself, so that it cannot be told from another") from error


def architecture(network: nn.Module) -> str:
    """Return a hash of what the state dict of a network does not hold: its modules, their numbers, text and constants.

    What else a module holds is left out: networks hold functions, caches and hooks, and other names of their weights.
    """
    weights = {_memory(value) for value in (*network.parameters(), *network.buffers())}
    modules = [
        [
            name,
            _code(type(module)),
            {key: _describe(value) for key, value in vars(module).items() if _is_setting(key, value, weights)},
        ]
        for name, module in network.named_modules()
    ]
    return digest(modules)


def _describe(part: Any) -> Any:
    if isinstance(part, float) and not math.isfinite(part):
        return repr(part)  # JSON has no such number
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    if isinstance(part, Path):
        return str(part)
    if isinstance(part, np.generic):
        return _describe(part.item())
    if isinstance(part, PRINTED):
        return repr(part)
    if isinstance(part, bytes):
        return hashlib.sha256(part).hexdigest()[:16]
    if isinstance(part, dict):
        return {str(key): _describe(value) for key, value in part.items()}
    if isinstance(part, (set, frozenset)):
        return sorted((_describe(value) for value in part), key=str)
    if isinstance(part, (list, tuple)):
        return [_describe(value) for value in part]
    if isinstance(part, (Tensor, np.ndarray)):
        return _array(part)
    if isinstance(part, Enum):
        return str(part)
    if isinstance(part, type) or inspect.isroutine(part):
        return _code(part)
    return _object(part)


def _array(part: Tensor | np.ndarray[Any, Any]) -> str:
    if isinstance(part, Tensor):
        part = part.detach().cpu()
        if part.dtype == torch.bfloat16 or part.is_quantized:  # NumPy has none
            return f"{part.dtype}, {_array(part.dequantize() if part.is_quantized else part.float())}"
        part = part.numpy()
    if part.dtype.hasobject:
        return f"{part.dtype}{part.shape}-{_describe(part.tolist())}"
    return f"{part.dtype}{part.shape}-{hashlib.sha256(part.tobytes()).hexdigest()[:16]}"


def _object(part: Any) -> dict[str, Any]:
    told: dict[str, Any] = _code(type(part))
    for method in ("identity", "fingerprint"):
        if callable(tell := getattr(part, method, None)):
            return told | {method: _describe(tell())}
    if isinstance(part, functools.partial):
        return told | {"of": _describe([part.func, part.args, part.keywords])}
    if isinstance(part, (torch.Generator, np.random.RandomState)):
        return told | {"state": _describe(part.get_state())}
    if isinstance(part, np.random.Generator):
        return told | {"state": _describe(part.bit_generator.state)}
    slots = [name for base in type(part).__mro__ for name in _names(vars(base).get("__slots__", []))]
    if not slots and not hasattr(part, "__dict__"):
        raise UserError(
            f"{part!r} cannot be told from another {type(part).__qualname__}: hold numbers, text and arrays, or give "
            "the class that holds it a method `identity` that says what it does"
        )
    held = {name: getattr(part, name) for name in slots if hasattr(part, name)} | getattr(part, "__dict__", {})
    return told | {name: _describe(value) for name, value in held.items() if _decides(part, name)}


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return [slots] if isinstance(slots, str) else slots


def _decides(part: Any, name: str) -> bool:
    """Tell whether an attribute is more than what is computed from others."""
    if isinstance(part, nn.Module) and name in MODULE:
        return name in WEIGHTS
    if isinstance(inspect.getattr_static(type(part), name, None), functools.cached_property):
        return False
    return not name.startswith("_") or not is_ours(type(part))


def _is_setting(name: str, value: Any, weights: Collection[int]) -> bool:
    plain = (bool, int, float, str, type(None), np.ndarray)
    return name not in MODULE and all(
        isinstance(part, plain)
        or (isinstance(part, Tensor) and part.grad_fn is None and not part.is_meta and _memory(part) not in weights)
        for part in (value if isinstance(value, tuple | list) else [value])
    )


def _memory(value: Tensor) -> int:
    """Return where the numbers of a tensor lie, which are also those of its views; 0 for one that has none."""
    strided = value.layout == torch.strided and not nn.parameter.is_lazy(value)
    return value.untyped_storage().data_ptr() if strided else 0


def _code(part: Any) -> dict[str, Any]:
    """Return the kind of a class or import path of a function, and a hash of its source where no version stands for it.

    Raises:
        UserError: For a function without a name of its own.
    """
    if isinstance(part, type):
        told = {"class": kind(part)}
        sources = [_source(base) for base in part.__mro__]
    else:
        if "<" in part.__qualname__:
            raise UserError(f"{part} cannot be told from another function: make it a class with arguments")
        told = {"function": f"{part.__module__}.{part.__qualname__}"}
        sources = [_source(inspect.unwrap(part))]
        if inspect.ismethod(part):
            told |= {"of": _describe(part.__self__)}
    if source := "".join(sources):
        told["code"] = hashlib.sha256(source.encode()).hexdigest()[:16]
    return told


@functools.cache
def _source(part: Any) -> str:
    """Return the source of a class or function of the user's own, without comments; "" where there is none."""
    if is_ours(part) or str(part.__module__).partition(".")[0] in sys.stdlib_module_names:
        return ""
    try:
        if INSTALLED & set(Path(inspect.getfile(part)).parts):
            return ""
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(part))))
    except (OSError, TypeError, SyntaxError):  # built in, typed into a session, or a part of a line
        return ""
