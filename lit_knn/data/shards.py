"""WebDataset tar shards, read at random: any number of processes and workers sees exactly the same batches."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import tarfile
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from lit_knn.data.base import ImageSource, Sample, Shard
from lit_knn.data.decoding import ImageError
from lit_knn.errors import UserError

EXTENSIONS = ("jpg", "jpeg", "png", "webp")
_BLOCK = 512


class TarShards(ImageSource):
    """Tar files of ``key.jpg`` (or .jpeg, .png, .webp) with an optional ``key.cls`` or ``key.json`` beside it.

    Other members are ignored, as is everything after the first dot of a file name that makes no such pair.

    Args:
        urls: Paths, or patterns such as ``train-{00000..00009}.tar`` and ``train-*.tar``; uncompressed local files.
        class_names_file: A text file with one class name per line; labels are then held to it.

    References:
        https://github.com/webdataset/webdataset
    """

    def __init__(self, *, urls: list[str] | str, class_names_file: str | Path | None = None) -> None:
        self.urls = [urls] if isinstance(urls, str) else urls
        self.class_names_file = class_names_file

    @cached_property
    def class_names(self) -> list[str] | None:
        """The lines of the class file."""
        if self.class_names_file is None:
            return None
        try:
            return Path(self.class_names_file).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"class_names_file {self.class_names_file} cannot be read ({error})") from error

    def shard_names(self) -> list[str]:
        """Return the file names without ``.tar``.

        Raises:
            UserError: If a pattern matches nothing or a file is missing.
        """
        return [path.stem for path in self._paths]

    def open_shard(self, index: int) -> TarShard:
        """List one tar file.

        Raises:
            UserError: If it is damaged, holds no images, or one of its labels makes no sense.
        """
        return TarShard(self._paths[index], len(self.class_names) if self.class_names else None)

    def identity(self) -> str:
        """Return a hash of each file's name, size and first bytes."""
        digest = hashlib.sha256()
        for path in self._paths:
            with path.open("rb") as file:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                digest.update(file.read(8 * _BLOCK))
        return f"TarShards-{digest.hexdigest()[:16]}"

    @cached_property
    def _paths(self) -> list[Path]:
        paths: list[Path] = []
        for pattern in (part for url in self.urls for part in _expand(os.path.expanduser(url))):
            found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern))
            if not found:
                raise UserError(f"no tar file matches {pattern}: accepted are local files")
            paths += map(Path, found)
        if not paths:
            raise UserError("urls is empty: give at least one tar file")
        return paths


class TarShard(Shard):
    """One tar file: `tarfile` finds where each member lies, `os.pread` reads it without a shared position.

    Args:
        path: The file.
        num_classes: Labels have to be below it; None accepts any.
    """

    def __init__(self, path: Path, num_classes: int | None) -> None:
        self.name, self._path, self._num_classes = path.stem, path, num_classes
        samples: dict[str, dict[str, tuple[int, int]]] = {}  # key → extension → (offset, size)
        for member in _members(path):
            match = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", member.name)
            if not member.isreg() or match is None:
                continue
            parts = samples.setdefault(match[1], {})
            if match[2].lower() in parts:
                raise UserError(f"{path} holds {member.name} twice")
            parts[match[2].lower()] = (member.offset_data, member.size)
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._keys: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._labels: list[int] = []
        for key, parts in samples.items():
            images = [extension for extension in EXTENSIONS if extension in parts]
            if len(images) > 1:
                raise UserError(f"{path} holds two images of key {key!r}: .{images[0]} and .{images[1]}")
            if images:
                self._keys.append(key)
                self._places.append(parts[images[0]])
                self._labels.append(self._label(key, parts))
        if not self._keys:
            raise UserError(f"{path} holds no images: accepted are {', '.join('.' + name for name in EXTENSIONS)}")

    def __reduce__(self) -> tuple[type[TarShard], tuple[Path, int | None]]:
        return TarShard, (self._path, self._num_classes)  # another process opens its own descriptor

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> Sequence[str]:
        """Return WebDataset's keys: paths up to the first dot of the file name."""
        return self._keys

    def read(self, row: int) -> Sample:
        """Read one sample.

        Raises:
            ImageError: If the disk does not give it back.
        """
        try:
            data = self._bytes(self._places[row])
        except OSError as error:
            raise ImageError(f"{self._path} cannot be read ({error.strerror})") from error
        return Sample(self._keys[row], self._labels[row], data)

    def _bytes(self, place: tuple[int, int]) -> bytes:
        offset, size = place
        return os.pread(self._descriptor, size, offset)

    def _label(self, key: str, parts: dict[str, tuple[int, int]]) -> int:
        """Read the label beside an image, −1 if there is none."""
        extension = next((name for name in ("cls", "json") if name in parts), None)
        if extension is None:
            return -1
        text = self._bytes(parts[extension])
        try:
            if extension == "cls":
                label = int(text)
            else:
                fields = json.loads(text)
                label = fields.get("label", fields.get("cls", -1))
                if label == -1:
                    return -1
        except (ValueError, AttributeError) as error:
            raise UserError(f"{self._path}: {key}.{extension} holds no class index but {text[:40]!r}") from error
        if type(label) is not int or not 0 <= label < (self._num_classes or label + 1):
            accepted = f"0 to {self._num_classes - 1}" if self._num_classes else "integers from 0"
            raise UserError(f"{self._path}: {key}.{extension} holds the label {label!r}, accepted are {accepted}")
        return label


def _members(path: Path) -> list[tarfile.TarInfo]:
    """List a tar file and prove that it is complete: a cut between two members looks like the end to `tarfile`."""
    try:
        with tarfile.open(path, "r:") as tar, path.open("rb") as file:
            members = tar.getmembers()
            if members:
                file.seek(members[-1].offset_data + -(-members[-1].size // _BLOCK) * _BLOCK)
                if file.read(_BLOCK) != bytes(_BLOCK):
                    raise tarfile.ReadError(f"no end mark after {members[-1].name}")
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{path} is cut short, damaged or no uncompressed tar file ({error}): write it again"
        ) from error
    return members


def _expand(pattern: str) -> list[str]:
    """Expand ``{000..123}`` and ``{a,b}`` as a shell would."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    bounds = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    choices = match[1].split(",")
    if bounds:
        choices = [str(number).zfill(len(bounds[1])) for number in range(int(bounds[1]), int(bounds[2]) + 1)]
    return [path for choice in choices for path in _expand(pattern[: match.start()] + choice + pattern[match.end() :])]
