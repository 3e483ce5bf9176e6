"""Reading a store: thousands of rows by number, from memory-mapped columns.

HDF5 only says where a column lies. The file is then mapped, since h5py's own indexing is 15 times slower on contiguous
data, and an open HDF5 file does not survive a fork; a mapping does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lit_knn.database.store.bits import unpack_signs
from lit_knn.database.store.held_columns import HeldColumns
from lit_knn.database.store.manifest import prefixes, read_manifest
from lit_knn.database.store.schema import Header, Schema, changed_columns, decode_key, read_header
from lit_knn.distributed.partition import WHOLE, Partition
from lit_knn.errors import UserError
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference


class Skipped(NamedTuple):
    """An image of the database that could not be read."""

    shard: int
    row: int
    key: str
    reason: str


class Store:
    """A sealed store, read-only. Row ids run from 0 to M − 1 through all its shards.

    Args:
        folder: Where ``manifest.json`` is.
        fingerprint: What its rows must depend on; not compared if None.

    Attributes:
        schema: Its columns.
        fingerprint: What its rows depend on.
        prefixes: A checksum of its first shards, however many, and the number of their rows; that of all is the last.

    Raises:
        UserError: If the manifest or a shard is missing, cut, damaged, of another schema version, or made from
            something else.
    """

    def __init__(self, folder: Path, *, fingerprint: Fingerprint | None = None) -> None:
        self.folder = Path(folder)
        manifest = read_manifest(self.folder / "manifest.json")
        self.prefixes = prefixes(manifest)
        self.fingerprint: Fingerprint = manifest["fingerprint"]
        if fingerprint is not None and (difference := fingerprint_difference(fingerprint, self.fingerprint)):
            raise UserError(f"store {folder} was made from something else: {difference}; delete it or choose another")
        self.schema = Schema.from_json(manifest["schema"])
        self._shards: list[dict[str, Any]] = manifest["shards"]
        self._headers = [self._checked_header(entry) for entry in self._shards]
        self._bounds = np.cumsum([0, *(header.rows for header in self._headers)])  # (S + 1,)
        self._dtypes = self.schema.columns()
        self._columns: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in self._dtypes}
        for entry, header in zip(self._shards, self._headers, strict=True):
            mapped = np.memmap(self.folder / entry["file"], np.uint8, "c").view(np.ndarray)
            for name, dtype in self._dtypes.items():  # each row an opaque string of bytes: the fastest to copy
                rows = mapped[header.offsets[name] :][: header.rows * dtype.itemsize]
                self._columns[name].append(rows.view(f"V{dtype.itemsize}"))

    def _checked_header(self, entry: dict[str, Any]) -> Header:
        path = self.folder / entry["file"]
        header = read_header(path)
        if difference := fingerprint_difference(self.fingerprint, header.fingerprint):
            raise UserError(f"store shard {path} was made from something else: {difference}; run `lit-knn extract`")
        found = (header.schema, header.rows, len(header.skipped), header.size, header.sha256)
        if found != (self.schema, *(entry[name] for name in ("rows", "skipped", "size", "sha256"))):
            raise UserError(f"store shard {path} is not the one manifest.json lists; run `lit-knn extract` again")
        return header

    @property
    def checksum(self) -> str:
        """SHA-256 of what the manifest says, and so of every row."""
        return next(reversed(self.prefixes))

    def __len__(self) -> int:
        """Return M."""
        return int(self._bounds[-1])

    # ---------------------------------------------------------------- gathering; ids int64 of any shape, 0 to M − 1

    def raw(self, name: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return rows of a column as they are stored, ``(..., B)`` uint8."""
        return self._copied(name, ids).view(np.uint8).reshape(*ids.shape, self.width(name))

    def width(self, name: str) -> int:
        """Return how many bytes a row of a column takes."""
        return self._dtype(name).itemsize

    def softmax_rows(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return softmax rows as stored: float16 ``(..., C)``, or packed records ``(...)``."""
        return self._gather("softmax", ids)

    def votes(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the classes that rows predict, ``(...)`` unsigned; the lowest of equally likely ones."""
        return self._gather("vote", ids)

    def features(self, tap: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return ``(..., D)`` float32 features; of a tap with bits, −1 and 1."""
        stored = self._gather(f"features/{tap}", ids)
        return unpack_signs(stored) if tap in self.schema.bits else _to_float32(stored)

    def is_half(self, tap: str) -> bool:
        """Return whether float16 holds the features of a tap: here always."""
        del tap
        return True

    def codes(self, tap: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return ``(..., D/8)`` uint8, the features of a tap with bits as they are stored."""
        return self._gather(self._bits(tap), ids)

    def weights(self, name: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return ``(...)`` float32 weights."""
        return self._gather(f"weight/{name}", ids)

    def labels(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return ``(...)`` int64 labels, −1 where unknown."""
        return self._gather("label", ids)

    def keys(self, ids: npt.NDArray[np.int64]) -> list[str]:
        """Return the names of the images, in the order of the flattened ids."""
        return [decode_key(key) for key in self._gather("key", ids).ravel().tolist()]

    def locate(self, ids: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the source shard and the row in it, both ``(...)`` int64."""
        rows = self._gather("id", ids)
        shards = np.array([entry["shard"] for entry in self._shards], np.int64)
        return shards[np.searchsorted(self._bounds, ids, side="right") - 1], rows

    def _gather(self, name: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        ids, dtype = np.asarray(ids), self._dtype(name)
        return self._copied(name, ids).view(dtype.base).reshape((*ids.shape, *dtype.shape))

    def _dtype(self, name: str) -> np.dtype[Any]:
        if name not in self._dtypes:
            raise UserError(f"store {self.folder} has no {name}; it has {', '.join(self._dtypes)}")
        return self._dtypes[name]

    def _copied(self, name: str, ids: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return rows ``(n,)`` of a column, each an opaque string of bytes."""
        dtype = self._dtype(name)
        if ids.dtype.kind not in "iu":
            raise IndexError(f"row ids are integers, not {ids.dtype}")
        if ids.size and not 0 <= ids.min() <= ids.max() < len(self):
            raise IndexError(f"row ids from {ids.min()} to {ids.max()}, the store has 0 to {len(self) - 1}")
        order = np.argsort(ids, axis=None)  # a disk, and a page table, like to be read forwards
        ordered = ids.ravel()[order]
        gathered = np.empty(ids.size, f"V{dtype.itemsize}")
        cuts = np.searchsorted(ordered, self._bounds)
        for shard in np.flatnonzero(np.diff(cuts)):
            part = slice(cuts[shard], cuts[shard + 1])
            gathered[order[part]] = self._columns[name][shard].take(ordered[part] - self._bounds[shard])
        return gathered

    # ---------------------------------------------------------------- all of it

    @cached_property
    def held(self) -> HeldColumns:
        """Columns on GPUs, shared by all views of the rows."""
        return HeldColumns(self)

    def raw_blocks(self, name: str) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield the first row and bytes ``(n, B)``, mapped, of consecutive blocks of a column."""
        first = 0
        for rows in self._columns[name]:
            yield first, rows.view(np.uint8).reshape(-1, self.width(name))
            first += len(rows)

    def feature_blocks(
        self, tap: str, *, within: range | None = None, share: Partition = WHOLE, rows: int = 16_384
    ) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Yield the first row and ``(n, D)`` float32 features of consecutive blocks, which never cross a shard.

        Args:
            tap: Which features.
            within: Leave out rows outside of it.
            share: Yield a part of the blocks only; those of all parts are those of the whole.
            rows: The largest n.
        """
        for first, block in self._blocks(f"features/{tap}", within, share, rows):
            yield first, unpack_signs(block) if tap in self.schema.bits else _to_float32(block)

    def code_blocks(
        self, tap: str, *, within: range | None = None, share: Partition = WHOLE, rows: int = 16_384
    ) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Yield the first row and ``(n, D/8)`` uint8 codes, mapped, of the same blocks of a tap with bits."""
        yield from self._blocks(self._bits(tap), within, share, rows)

    def _blocks(
        self, name: str, within: range | None, share: Partition, rows: int
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        column, dtype = self._columns[name], self._dtypes[name]
        within = range(len(self)) if within is None else within
        blocks = [
            (shard, start)
            for shard, (first, stop) in enumerate(pairwise(self._bounds.tolist()))
            for start in range(max(first, within.start), min(stop, within.stop), rows)
        ]
        for shard, start in share.of(blocks):
            first, stop = self._bounds[shard : shard + 2].tolist()
            block = column[shard][start - first : min(start + rows, stop, within.stop) - first]
            yield start, block.view(dtype.base).reshape(-1, *dtype.shape)

    def _bits(self, tap: str) -> str:
        """Return the column of a tap with bits."""
        if tap not in self.schema.bits:
            raise UserError(
                f"store {self.folder} has no bits of tap {tap!r}; it has {', '.join(self.schema.bits) or 'none at all'}"
            )
        return f"features/{tap}"

    def skipped(self) -> list[Skipped]:
        """Return the images that could not be read when the store was made."""
        return [
            Skipped(entry["shard"], *failure)
            for entry, header in zip(self._shards, self._headers, strict=True)
            for failure in header.skipped
        ]

    def verify(self) -> None:
        """Read every row and compare checksums.

        Raises:
            UserError: If a column of a shard has changed since it was sealed.
        """
        for entry, header in zip(self._shards, self._headers, strict=True):
            path = self.folder / entry["file"]
            for name in changed_columns(path, header, entry["sha256"]):
                raise UserError(
                    f"column {name} of store shard {path} has changed since it was sealed; delete the shard and run "
                    "`lit-knn extract` again"
                )


def _to_float32(stored: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """PyTorch converts float16 ten times faster than NumPy."""
    converted: npt.NDArray[np.float32] = torch.from_numpy(stored).float().numpy()
    return converted
