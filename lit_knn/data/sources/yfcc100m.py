"""YFCC-100M: 100 million Flickr photos, found through the metadata that Flickr released with them."""

from __future__ import annotations

import bz2
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import IO, NamedTuple

import rich.progress
from rich.console import Console

from lit_knn.data.base import ImageSource, identity_of
from lit_knn.data.sources.file_patterns import local_files
from lit_knn.data.sources.folder import FileShard
from lit_knn.errors import UserError, WriteError
from lit_knn.storage.atomic import atomic_write

_COLUMNS = 23  # of the release of 2014; later ones put a line number in front and the name after the id
_URL, _NAME = 14, 2
_LONGEST = 1 << 20  # bytes of a line: no memory for a file that is no table
_HEADER, _WIDTH = 1023, 32  # bytes of a list's first line, and of each name, without the line feeds


class YFCC100M(ImageSource):
    """Read the photos of YFCC-100M from a copy of its image mirror, ``abc/def/abcdef….jpg``; videos are left out.

    The first use reads the metadata once, for about an hour, and keeps a list of the photos' names: 33 bytes each, as
    text. A shard is a range of that list, so that opening one costs one read and no memory for the others, and
    compressed metadata need no second look. Listing resumes with the first metadata file that has no list. The
    metadata tell neither classes nor which images are missing: labels are −1, a missing file is an unreadable image.

    Args:
        metadata: Paths, folders or patterns of tab-separated files, plain or .bz2, such as
            ``yfcc100m_dataset-{0..9}.bz2``; 23 columns, or 25 with line number and name.
        root: The folder that holds ``abc/def/abcdef….jpg``.
        listing: The folder for the lists of names; null puts each beside its metadata file.
        shard_size: Photos per shard, at least 1, in the order of the metadata; the unit of resuming an extraction.

    Raises:
        UserError: If ``shard_size`` is below 1.

    References:
        Thomee et al., YFCC100M: The New Data in Multimedia Research, 2016, https://arxiv.org/abs/1503.01817
        The layout: https://gitlab.com/jfolz/yfcc100m and http://www.multimediacommons.org
    """

    labels_from = "YFCC-100M has none, it is a database"

    def __init__(
        self,
        *,
        metadata: list[str] | str,
        root: str | Path,
        listing: str | Path | None = None,
        shard_size: int = 10_000,
    ) -> None:
        if shard_size < 1:
            raise UserError(f"shard_size is {shard_size}: accepted are 1 and more")
        self.metadata = [metadata] if isinstance(metadata, str) else metadata
        self.root, self.listing, self.shard_size = Path(root), None if listing is None else Path(listing), shard_size

    def shard_names(self) -> list[str]:
        """Return one name per `shard_size` photos of a metadata file; the first call lists the photos.

        Raises:
            UserError: If metadata are missing, damaged, or hold no photos.
        """
        return [self._name(part, first) for part, first in self._shards]

    def open_shard(self, index: int) -> FileShard:
        """Read the names of one shard's photos, and return the shard; no photo is opened.

        Raises:
            UserError: If ``root`` is no folder, the list is cut short, or a photo comes twice.
        """
        part, first = self._shards[index]
        if not self.root.is_dir():
            raise UserError(f"root {self.root} is no folder: give the one that holds abc/def/abcdef….jpg")
        count = min(self.shard_size, part.photos - first)
        with part.path.open("rb") as file:
            file.seek(_HEADER + 1 + first * (_WIDTH + 1))
            names = file.read(count * (_WIDTH + 1)).decode("ascii", "replace").split()
        if len(names) != count:
            raise UserError(f"{part.path} is damaged: delete it, and it is made again")
        if len(set(names)) < count:
            twice = next(name for place, name in enumerate(names) if name in names[:place])
            raise UserError(f"the metadata that {part.path} lists hold photo {twice} twice within a shard")
        keys = [f"{name[:3]}/{name[3:6]}/{name}.jpg" for name in names]
        return FileShard(self._name(part, first), self.root, keys, [-1] * count)

    def identity(self) -> str:
        """Return a hash of what each shard is."""
        return identity_of(type(self), self.shard_identities())

    def shard_identities(self) -> list[str]:
        """Return which photos each has, by their names; columns and compression of the metadata do not count."""
        return [f"{part.sha256}, {first} by {self.shard_size}" for part, first in self._shards]

    def _name(self, part: _Part, first: int) -> str:
        return f"{part.path.stem}-{first // self.shard_size:05d}"

    @cached_property
    def _shards(self) -> list[tuple[_Part, int]]:
        """The list and the first photo of each shard, which lies within one metadata file."""
        return [(part, first) for part in self._parts for first in range(0, part.photos, self.shard_size)]

    @cached_property
    def _parts(self) -> list[_Part]:
        paths = local_files(self.metadata, kind="metadata", suffixes=(".tsv", ".bz2"))
        lists: dict[Path, Path] = {}
        for path in paths:
            photos = (self.listing or path.parent) / f"{path.name.partition('.')[0]}.photos"
            if photos in lists:
                raise UserError(f"{lists[photos]} and {path} would share the list {photos}: rename one")
            lists[photos] = path
        parts = [_list_once(path, photos) for photos, path in lists.items()]
        if not any(part.photos for part in parts):
            raise UserError(f"there are no photos in the metadata {', '.join(map(str, self.metadata))}")
        return parts


class _Part(NamedTuple):
    """The list of one metadata file."""

    path: Path
    photos: int
    sha256: str


def photo_name(url: bytes) -> str:
    """Return a photo's name: the MD5 of its download address in hexadecimal, each byte without its leading zero."""
    return "".join(f"{byte:x}" for byte in hashlib.md5(url, usedforsecurity=False).digest())


def photo_names(metadata: Path) -> Iterator[str]:
    """Yield the names of the photos of a metadata file, in its order and without videos.

    Raises:
        UserError: If a line is not of the metadata's form, or the file cannot be read to its end.
    """
    number = 0
    try:
        with _opened(metadata) as file:
            for number, line in enumerate(iter(partial(file.readline, _LONGEST), b""), start=1):
                fields = line.rstrip(b"\r\n").split(b"\t")
                if len(fields) not in (_COLUMNS, _COLUMNS + 2):
                    raise UserError(f"{metadata}, line {number} has {len(fields)} columns: accepted are 23 and 25")
                if fields[-1] not in (b"0", b"1"):
                    raise UserError(f"{metadata}, line {number} ends with {fields[-1][:40]!r}: accepted are 0 and 1")
                if fields[-1] == b"0":
                    named = len(fields) > _COLUMNS
                    name = fields[_NAME].decode("ascii", "replace") if named else photo_name(fields[_URL])
                    if not re.fullmatch(r"[0-9a-f]{16,32}", name):
                        raise UserError(f"{metadata}, line {number} names its photo {name[:40]!r}: that is no MD5")
                    yield name
    except (OSError, EOFError) as error:
        raise UserError(f"{metadata} is damaged or cut short after line {number} ({error})") from error


@contextmanager
def _opened(metadata: Path) -> Iterator[IO[bytes]]:
    """Open a metadata file with a progress bar over its own bytes."""
    console = Console(stderr=True)
    with rich.progress.open(metadata, "rb", description=f"listing {metadata.name}", console=console) as raw:
        if metadata.suffix != ".bz2":
            yield raw
        else:
            with bz2.open(raw, "rb") as file:
                yield file


def _list_once(metadata: Path, photos: Path) -> _Part:
    """Return the list of a metadata file, made if it is not there; two processes that make it make the same."""
    if not photos.exists():
        _write_list(metadata, photos)
    with photos.open("rb") as file:
        header = file.readline(_HEADER + 1)
    try:
        fields = json.loads(header)
        part = _Part(photos, int(fields["photos"]), str(fields["sha256"]))
        if photos.stat().st_size != _HEADER + 1 + part.photos * (_WIDTH + 1):
            raise ValueError("its length is wrong")
        if (fields["metadata"], fields["bytes"]) != (metadata.name, metadata.stat().st_size):
            raise ValueError(f"it lists {fields['metadata']} of {fields['bytes']} bytes")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{photos} is not the list of {metadata} ({error}): delete it, and it is made again") from error
    return part


def _write_list(metadata: Path, photos: Path) -> None:
    count, digest = 0, hashlib.sha256()
    try:
        with atomic_write(photos) as unfinished, unfinished.open("wb") as file:
            file.write(b" " * _HEADER + b"\n")
            for name in photo_names(metadata):
                line = f"{name:{_WIDTH}}\n".encode()
                file.write(line)
                digest.update(line)
                count += 1
            header = {"metadata": metadata.name, "bytes": metadata.stat().st_size, "photos": count}
            file.seek(0)
            file.write(json.dumps({**header, "sha256": digest.hexdigest()}).encode())
    except WriteError as error:
        raise WriteError(f"{error}; set listing to a folder that can") from error
