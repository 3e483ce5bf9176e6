"""Read a file that somebody may have damaged, and say so in one sentence; nothing is unpickled."""

from __future__ import annotations

import csv
import errno
import json
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_knn.errors import DamageError, UserError

# What JSON, NumPy and HDF5 raise for bytes that they did not write, besides what the tests of their content raise.
DAMAGE = (
    *(OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError),
    *(RuntimeError, SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error, csv.Error),
)


@contextmanager
def undamaged(what: Path | str, remedy: str) -> Iterator[None]:
    """Say in one sentence that a file cannot be read, and what to do: "WHAT is damaged (why); REMEDY".

    Args:
        what: Its path, and perhaps what it is, such as "store shard PATH".
        remedy: An imperative, such as "delete it and run `lit-knn extract` again".

    Raises:
        DamageError: Instead of whatever its bytes raise, `ValueError` for content that is not as it must be included.
        UserError: If the system does not let it be read.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise DamageError(f"{what} is missing; {remedy}") from error
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE):
            raise UserError(f"{what} cannot be read: {os.strerror(error.errno)}") from error
        raise DamageError(f"{what} is damaged ({str(error) or type(error).__name__}); {remedy}") from error


def load_json(path: Path, remedy: str, form: Any = object) -> Any:
    """Return what a JSON file holds.

    Args:
        path: Of the file.
        remedy: As for `undamaged`.
        form: What it must be, see `parse_json`.

    Raises:
        UserError: If it is missing, damaged, or has another form.
    """
    with undamaged(path, remedy):
        return parse_json(path.read_bytes(), form)


def parse_json(text: str | bytes, form: Any = object) -> Any:
    """Return what JSON text holds.

    Args:
        text: UTF-8.
        form: What it must be: a type (or a union of some), ``[FORM]`` for a list of such, or a dictionary with the form
            of each key that must be there; its key ``str`` has the form of all others, which may otherwise be anything.

    Raises:
        ValueError: If it is no JSON, or has another form.

    Example:
        >>> form = {"shards": [{"rows": int}], "names": {str: str}}
        >>> parse_json('{"shards": [{"rows": 3}], "names": {"a": "b"}}', form)
        {'shards': [{'rows': 3}], 'names': {'a': 'b'}}
    """
    value = json.loads(text)
    conform(value, form, "content")
    return value


def conform(value: Any, form: Any, place: str) -> None:
    """Refuse what has another form than `parse_json` says.

    Args:
        value: Of JSON.
        form: What it must be.
        place: What messages call it.

    Raises:
        ValueError: If it is something else.
    """
    kind: Any = type(form) if isinstance(form, (dict, list)) else form
    # Python's True is an int, JSON's is none
    if not isinstance(value, kind) or (isinstance(value, bool) and kind not in (bool, object)):
        raise ValueError(f"{place} is {type(value).__name__}, not {getattr(kind, '__name__', kind)}")
    if isinstance(form, list):
        for number, item in enumerate(value):
            conform(item, form[0], f"{place}[{number}]")
    elif isinstance(form, dict):
        if absent := [key for key in form if key is not str and key not in value]:
            raise ValueError(f"{place} has no {absent[0]!r}")
        for key, item in value.items():
            conform(item, form.get(key, form.get(str, object)), f"{place}[{key!r}]")


def load_arrays(
    path: Path, remedy: str, form: Mapping[str, tuple[str, int]] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an ``.npz`` file; nothing is unpickled.

    Args:
        path: Of the file.
        remedy: As for `undamaged`.
        form: Names to read, with the dtype and the number of dimensions that each must have; all by default.

    Raises:
        UserError: If it is missing or damaged, or an array is missing or has another form.
    """
    with undamaged(path, remedy), path.open("rb") as stream:
        file = np.load(stream, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise TypeError("not an .npz file")
        arrays = {name: np.asarray(file[name]) for name in form or file.files}
        for name, (dtype, dimensions) in (form or {}).items():
            if (arrays[name].dtype, arrays[name].ndim) != (np.dtype(dtype), dimensions):
                raise ValueError(f"{name} is {arrays[name].dtype}{arrays[name].shape}")
        return arrays
