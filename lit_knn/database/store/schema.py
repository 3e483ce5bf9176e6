"""The file format: what columns a shard has, and what must be true of a file before a row of it is believed.

    features/<tap>   (M, D) float16, or (M, D/8) uint8 of signs (see `bits`)
                                          softmax   (M, C) float16, or (M,) packed records (see `softmax`)
    weight/<name>    (M,) float32         vote      (M,) uint16, the class of the largest softmax
    label            (M,) int64, or −1    id        (M,) int64, row in the source shard
    key              (M,) UTF-8 bytes, where the image lies
    skipped          JSON bytes: [[row, key, reason], …]

Each is contiguous and as long as the source shard; the attribute ``rows`` says how many rows of it count. The attribute
``complete`` is written last. The attributes ``name`` and ``keys`` say whose rows they are: a shard is read under the
name that it was sealed under only, and `verify` compares its keys with those of the source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lit_knn.database.store.softmax import packed_dtype, vote_dtype
from lit_knn.errors import DamageError, UserError
from lit_knn.storage.fingerprint import Fingerprint, from_text
from lit_knn.storage.reading import parse_json, undamaged

SCHEMA_VERSION = 5
"""Of the form of a shard; files of another one are refused."""
SCHEMA_FORM = {
    "num_classes": int,
    "dimensions": {str: int},
    "weights": [str],
    "packed": bool,
    "key_width": int,
    "bits": [str],
}
BLOCK = 1 << 24  # bytes hashed at once


@dataclass(frozen=True)
class Schema:
    """Columns of a store.

    Attributes:
        num_classes: C.
        dimensions: D of each tap's features.
        weights: Names of the weights.
        packed: Whether softmax rows are shortened to their largest entries.
        key_width: Longest key, in bytes of UTF-8.
        bits: Names of the taps whose features are −1 and 1, a bit each.
    """

    num_classes: int
    dimensions: dict[str, int]
    weights: tuple[str, ...]
    packed: bool
    key_width: int
    bits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse bits that do not fill whole bytes.

        Raises:
            ValueError: If there are such, or bits of no tap.
        """
        for tap in self.bits:
            if self.dimensions.get(tap, 1) % 8:
                raise ValueError(f"bits of {tap!r} are not a multiple of 8: dimensions are {self.dimensions}")

    def columns(self) -> dict[str, np.dtype[Any]]:
        """Return the dtype of one row of each column; its ``shape`` is that of the row."""
        dense = np.dtype(("<f2", (self.num_classes,)))
        return {
            **{
                f"features/{tap}": np.dtype(("u1", (size // 8,)) if tap in self.bits else ("<f2", (size,)))
                for tap, size in self.dimensions.items()
            },
            "softmax": packed_dtype(self.num_classes) if self.packed else dense,
            "vote": vote_dtype(self.num_classes),
            **{f"weight/{name}": np.dtype("<f4") for name in self.weights},
            "id": np.dtype("<i8"),
            "label": np.dtype("<i8"),
            "key": np.dtype(f"S{self.key_width}"),
        }

    @property
    def row_bytes(self) -> int:
        """What all columns take for one image."""
        return sum(dtype.itemsize for dtype in self.columns().values())

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self) | {"weights": list(self.weights), "bits": list(self.bits)}

    @classmethod
    def from_json(cls, entries: dict[str, Any]) -> Schema:
        """Return the schema that `to_json` described."""
        return cls(**{**entries, "weights": tuple(entries["weights"]), "bits": tuple(entries["bits"])})


@dataclass(frozen=True)
class Header:
    """What a sealed shard says of itself.

    Attributes:
        schema: Its columns.
        fingerprint: What its rows depend on.
        rows: How many there are.
        sha256: Of the rows of each column, and of ``skipped``.
        skipped: Row, key and reason of each image that could not be read; −1 for what never was a row of the source.
        keys: Hash of the names of all images of the source shard, see `hash_keys`.
        size: Of the file, in bytes.
        offsets: Where each column starts in it, in bytes.
    """

    schema: Schema
    fingerprint: Fingerprint
    rows: int
    sha256: dict[str, str]
    skipped: tuple[tuple[int, str, str], ...]
    keys: str
    size: int
    offsets: dict[str, int]


def shard_name(shard: int) -> str:
    """Return the file name of the rows of a source shard."""
    return f"shard-{shard:06d}.h5"


def encode_key(key: str) -> bytes:
    """Return UTF-8, or the bytes of a file name that is not."""
    return key.encode(errors="surrogateescape")


def decode_key(key: bytes) -> str:
    """Return what `encode_key` was given."""
    return key.decode(errors="surrogateescape")


def hash_keys(keys: Iterable[str]) -> str:
    """Return a hash of the names of a source shard's images, in the order of its rows."""
    digest = hashlib.sha256()
    for key in keys:
        digest.update(encode_key(key) + b"\0")
    return digest.hexdigest()[:32]


def read_header(path: Path) -> Header:
    """Read a shard's attributes and find its columns, without reading a row.

    Raises:
        DamageError: If the file is missing, cut, half-written, damaged, or the shard of another name.
        UserError: If it is of another schema version, or cannot be read.
    """
    place, remedy = f"store shard {path}", "run `lit-knn extract` again"
    with undamaged(place, remedy), h5py.File(path, "r", locking=False) as file:  # some file systems cannot lock
        if not file.attrs.get("complete", False):
            raise DamageError(f"{place} was never finished; {remedy}")
        if (version := int(file.attrs["schema_version"])) != SCHEMA_VERSION:
            raise UserError(
                f"{place} has schema version {version}, not {SCHEMA_VERSION}; delete the store and extract again"
            )
        if (name := _noted(file, "name")) != path.name:
            raise DamageError(f"{place} holds the rows of {name}; {remedy}")
        schema = Schema.from_json(parse_json(_noted(file, "schema"), SCHEMA_FORM))
        columns, rows = schema.columns(), int(file.attrs["rows"])
        for name, dtype in columns.items():
            if (file[name].dtype, file[name].shape[1:]) != (dtype.base, dtype.shape) or len(file[name]) < rows:
                raise ValueError(f"column {name} is not {rows} × {dtype}")
        offsets = {name: file[name].id.get_offset() for name in columns}
        skipped = tuple((row, key, reason) for row, key, reason in parse_json(file["skipped"][()].tobytes(), [list]))
        if rows and None in offsets.values():
            raise ValueError("a column is not contiguous")
        left_out = sum(row >= 0 for row, _, _ in skipped)
        if rows + left_out != len(file["id"]):
            raise ValueError(f"{rows} rows and {left_out} images left out, of {len(file['id'])} in all")
        return Header(
            schema=schema,
            fingerprint=from_text(_noted(file, "fingerprint")),
            rows=rows,
            sha256={name: _noted(file, f"sha256/{name}") for name in [*columns, "skipped"]},
            skipped=skipped,
            keys=_noted(file, "keys"),
            size=path.stat().st_size,
            offsets=offsets,
        )


def _noted(file: h5py.File, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, bytes):
        raise TypeError(f"attribute {name} is {type(value).__name__}, not bytes")
    return value.decode()


def changed_columns(path: Path, header: Header, sha256: Mapping[str, str]) -> Iterator[str]:
    """Read every row of a shard and yield the columns whose hash is another than the one given.

    Args:
        path: Of the shard.
        header: What it says of itself.
        sha256: What was noted when it was sealed.
    """
    mapped = np.memmap(path, np.uint8, "r").view(np.ndarray)
    for name, dtype in header.schema.columns().items():
        start, size = header.offsets[name], header.rows * dtype.itemsize
        digest = hashlib.sha256()
        for first in range(0, size, BLOCK):
            digest.update(mapped[start + first : start + min(first + BLOCK, size)].data)
        if digest.hexdigest() != sha256.get(name):
            yield name
