"""Arrays in files of other programs: named, mapped into memory where the format allows it, and never unpickled."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray
from torch import Tensor

from lit_knn.errors import UserError

LISTED = 8  # names of arrays in a sentence
SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")
_NAMES = [*(f"{kind}{bits}" for kind in "UI" for bits in (8, 16, 32, 64)), "F16", "F32", "F64"]  # of safetensors
_DTYPES = {name: np.dtype(f"<{name[0].lower()}{int(name[1:]) // 8}") for name in _NAMES}
_LONGEST_HEADER = 100_000_000  # bytes, the limit of the format


def read_array(path: Path, key: str | None = None) -> NDArray[Any]:
    """Return an array of a file, mapped into memory, so that only what is used is read.

    From ``.npz``, and from files of PyTorch before 1.6, the whole array is read.

    Args:
        path: File with one of the endings `SUFFIXES`, of one array or tensor, or of several with names; in a list or
            tuple the names are positions, from 0.
        key: Name of the array; by default there must be only one.

    Raises:
        UserError: If the file is missing, damaged or of another kind, holds no such array, or would have to be
            unpickled.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is no file of arrays: accepted are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"{path} does not exist or is no regular file")
    try:
        if suffix == ".npy":
            return _only({"": np.load(path, mmap_mode="r", allow_pickle=False)}, path, key)
        if suffix == ".npz":
            with path.open("rb") as opened, NpzFile(opened, allow_pickle=False) as file:
                return np.asarray(file[_name(file.files, path, key)])
        if suffix == ".safetensors":
            return _safetensor(path, key)
    except (OSError, ValueError, EOFError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged, or holds what would have to be unpickled ({error})") from error
    return _only(_tensors(path), path, key)


def _only(arrays: Mapping[str, NDArray[Any]], path: Path, key: str | None) -> NDArray[Any]:
    return arrays[_name(arrays, path, key)]


def _name(known: Any, path: Path, key: str | None) -> str:
    """Return the name of the array that is meant.

    Raises:
        UserError: If there is none, or not only one and none is named.
    """
    names = list(known)
    if key in names:
        return str(key)
    if key is None and len(names) == 1:
        return str(names[0])
    some = [*map(repr, names[:LISTED]), *(["…"] if len(names) > LISTED else [])]
    holds = ", ".join(some) if names != [""] else "one array without a name"
    wanted = f"there is no {key!r}" if key else "name one of them by images_key or labels_key"
    raise UserError(f"{path} holds {holds or 'no array'}: {wanted}")


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file that `torch.save` wrote, by name."""
    try:
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # a file from before PyTorch 1.6
            saved = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(saved, list | tuple):
            saved = {str(position): value for position, value in enumerate(saved)}
        named = saved if isinstance(saved, dict) else {"": saved}
        return {str(key): value.detach().numpy() for key, value in named.items() if isinstance(value, Tensor)}
    except Exception as error:  # whatever a damaged file makes of the unpickler
        first = str(error).partition("\n")[0].partition(". ")[0]
        raise UserError(
            f"{path} is damaged, or holds more than tensors that NumPy knows ({first}): save one tensor, or a dict of "
            "them"
        ) from error


def _safetensor(path: Path, key: str | None) -> NDArray[Any]:
    """Map one tensor of a safetensors file.

    Raises:
        ValueError: If the file is damaged.

    References:
        https://huggingface.co/docs/safetensors, Format
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_LONGEST_HEADER, path.stat().st_size):
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no object")  # noqa: TRY004 - a damaged file
    header.pop("__metadata__", None)
    name = _name(header, path, key)
    try:
        kind, shape = header[name]["dtype"], tuple(map(int, header[name]["shape"]))
        start, stop = map(int, header[name]["data_offsets"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"its header does not describe {name!r}") from error
    if kind not in _DTYPES:
        raise UserError(f"{name!r} of {path} has dtype {kind}: accepted are {', '.join(_DTYPES)}")
    if not 0 <= start < stop or stop - start != math.prod(shape) * _DTYPES[kind].itemsize:
        raise ValueError(f"{name!r} is empty or has another size than its header says")
    return np.memmap(path, _DTYPES[kind], "r", 8 + length + start, shape)
