"""Writing a store: one shard at a time, by any number of processes, each sealed before it can be read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from lit_knn.database.store.bits import pack_signs
from lit_knn.database.store.schema import SCHEMA_VERSION, Header, Schema, encode_key, hash_keys, read_header
from lit_knn.database.store.softmax import pack, votes
from lit_knn.errors import DamageError, UserError
from lit_knn.storage.atomic import publish, unfinished_name
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference, to_text

log = logging.getLogger(__name__)

SUM_TOLERANCE = 1e-3  # float16 logits of a network sum to 1 within it
LARGEST_HALF = 65504.0
SLACK = 1 << 18  # bytes for what HDF5 adds, and a list of images that could not be read


class ShardWriter:
    """Writes the rows of one source shard to a file that is complete or does not exist.

    A context manager: leaving it without `seal` removes what was written.

    Args:
        path: Where the sealed file will be, and under no other name.
        capacity: Rows of the source shard.
        schema: Columns.
        fingerprint: What the rows depend on.
    """

    def __init__(self, path: Path, *, capacity: int, schema: Schema, fingerprint: Fingerprint) -> None:
        self.path = Path(path)
        self.schema = schema
        self._capacity = capacity
        self.rows = 0
        self._skipped: list[tuple[int, str, str]] = []
        self._keys: dict[int, str] = {}  # by row of the source shard
        self._columns = schema.columns()
        self._given = {f"features/{tap}": (size,) for tap, size in schema.dimensions.items()}
        self._given["softmax"] = (schema.num_classes,)  # shapes of rows before they are packed
        self._hashes = {name: hashlib.sha256() for name in self._columns}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished = unfinished_name(self.path)
        size = capacity * sum(dtype.itemsize for dtype in self._columns.values()) + SLACK
        self._reserve(size)  # before HDF5 has something to flush
        self._file = h5py.File(self._unfinished, "w", locking=False, libver="v110")  # nobody else knows its name
        for name, dtype in self._columns.items():
            early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # a column without rows has an offset, too
            self._file.create_dataset(name, (capacity, *dtype.shape), dtype.base, dcpl=early, fill_time="never")
        self._note("name", self.path.name)
        self._file.attrs["schema_version"] = SCHEMA_VERSION
        self._note("schema", json.dumps(schema.to_json(), sort_keys=True))
        self._note("fingerprint", to_text(fingerprint))
        self._file.flush()
        self._reserve(size)

    def _note(self, name: str, text: str) -> None:
        """Write an attribute as bytes: HDF5 keeps texts in a heap without checksums, and may read it for ever."""
        self._file.attrs[name] = np.bytes_(text.encode())

    def _reserve(self, size: int) -> None:
        """Take the space of the finished file from the disk.

        If the disk ran full in the middle, HDF5 could neither write nor forget its caches: it prints pages of errors
        at the end of the process, or crashes.
        """
        if not hasattr(os, "posix_fallocate"):
            return  # macOS
        with self._unfinished.open("ab") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError:
                self._unfinished.unlink()
                raise

    def append(
        self,
        *,
        features: Mapping[str, npt.NDArray[np.float32]],
        softmax: npt.NDArray[np.float32],
        weights: Mapping[str, npt.NDArray[np.float32]],
        ids: npt.NDArray[np.int64],
        label: npt.NDArray[np.int64],
        key: Sequence[str],
    ) -> None:
        """Add n rows.

        Args:
            features: ``(n, D)`` float32 of each tap, within ±65,504, the range of float16; −1 and 1 of taps with bits.
            softmax: ``(n, C)`` float32, rows summing to 1.
            weights: ``(n,)`` float32 of each name.
            ids: ``(n,)`` int64, row in the source shard.
            label: ``(n,)`` int64, −1 if unknown.
            key: n names of images.

        Raises:
            UserError: If a number is NaN, infinite or out of range, or a key too long.
            ValueError: If names or shapes are not those of the schema, or there are more rows than the capacity.
        """
        given: dict[str, npt.NDArray[Any]] = {
            **{f"features/{tap}": np.asarray(rows) for tap, rows in features.items()},
            "softmax": np.asarray(softmax),
            **{f"weight/{name}": np.asarray(rows) for name, rows in weights.items()},
            "id": np.asarray(ids),
            "label": np.asarray(label),
            "key": np.array([encode_key(name) for name in key], np.bytes_),
        }
        if given.keys() != (expected := self._columns.keys() - {"vote"}):
            raise ValueError(f"columns {sorted(given)} are not those of the schema, {sorted(expected)}")
        for name, rows in given.items():
            shape = (len(key), *self._given.get(name, ()))
            if rows.shape != shape:
                raise ValueError(f"{name} has shape {rows.shape}, not {shape}")
        if (stop := self.rows + len(key)) > self._capacity:
            raise ValueError(f"{stop} rows are more than the {self._capacity} of the source shard")
        self._check(given, key)
        given["softmax"] = pack(softmax) if self.schema.packed else softmax.astype(np.float16)
        given["vote"] = votes(given["softmax"])
        for tap in self.schema.bits:
            given[f"features/{tap}"] = pack_signs(given[f"features/{tap}"])
        for name, dtype in self._columns.items():
            stored = np.ascontiguousarray(given[name], dtype.base)
            self._file[name][self.rows : stop] = stored
            self._hashes[name].update(stored.data)
        self._keys.update(zip(given["id"].tolist(), key, strict=True))
        self.rows = stop

    def _check(self, given: Mapping[str, npt.NDArray[Any]], key: Sequence[str]) -> None:
        softmax = given["softmax"]
        off = np.abs(softmax.sum(axis=1, keepdims=True) - 1)  # (n, 1)
        problems = {"softmax (negative, NaN, or not summing to 1)": ~((softmax >= 0) & (off <= SUM_TOLERANCE))}
        for tap in self.schema.dimensions:
            size = np.abs(given[f"features/{tap}"])
            if tap in self.schema.bits:
                problems[f"{tap} (NaN, or a sign that is neither −1 nor 1)"] = size != 1
            else:
                problems[f"{tap} (NaN, or beyond float16's ±65,504)"] = ~(size <= LARGEST_HALF)
        for name in self.schema.weights:
            problems[f"weight {name} (NaN or infinite)"] = ~np.isfinite(given[f"weight/{name}"])
        for what, bad in problems.items():
            if bad.any():
                raise UserError(f"the network gives a bad {what} for image {key[int(np.argwhere(bad)[0, 0])]!r}")
        for name in key:
            if len(encode_key(name)) > self.schema.key_width or "\0" in name:
                raise UserError(f"key {name!r} is longer than {self.schema.key_width} bytes or holds a zero byte")

    def skip(self, failure: tuple[int, str, str]) -> None:
        """Note an unreadable image: its row in the source shard, −1 if it has none, its key and the reason."""
        row, key, reason = failure
        self._skipped.append((int(row), key, reason))
        if row >= 0:
            self._keys[int(row)] = key

    def seal(self) -> None:
        """Make the shard readable under its final name, all of it, on disk.

        Raises:
            ValueError: If an image of the source shard has neither been added nor skipped.
        """
        if len(self._keys) != self._capacity:
            raise ValueError(f"{len(self._keys)} images are not the {self._capacity} of the source shard")
        skipped = json.dumps(self._skipped).encode()
        self._file["skipped"] = np.frombuffer(skipped, np.uint8)
        for name, digest in {**self._hashes, "skipped": hashlib.sha256(skipped)}.items():
            self._note(f"sha256/{name}", digest.hexdigest())
        self._file.attrs["rows"] = self.rows
        self._note("keys", hash_keys(self._keys[row] for row in sorted(self._keys)))
        self._file.close()
        with h5py.File(self._unfinished, "r+", locking=False) as file:  # opened again, it gives back what was reserved
            file.attrs["complete"] = True
        publish(self._unfinished, self.path)

    def discard(self) -> None:
        """Remove what was written, unless it was sealed."""
        self._file.close()
        self._unfinished.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()


def sealed_header(path: Path, fingerprint: Fingerprint) -> Header | None:
    """Return what a shard says of itself, or None where it has to be made: it is missing, damaged or misplaced.

    Raises:
        UserError: If it has another fingerprint or schema version: somebody may still want it.
    """
    if not path.exists():
        return None
    try:
        header = read_header(path)
    except DamageError as error:
        log.warning("%s: this is done now", error)
        return None
    if difference := fingerprint_difference(fingerprint, header.fingerprint):
        raise UserError(f"store shard {path} was made from something else: {difference}; delete it or choose a folder")
    return header
