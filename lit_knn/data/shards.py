"""WebDataset tar shards, read at random: any number of processes and workers sees exactly the same batches."""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from lit_knn.data import members
from lit_knn.data.base import ImageSource, Sample, Shard
from lit_knn.data.decoding import ImageError
from lit_knn.data.patterns import local_files
from lit_knn.errors import UserError

_FIRST_BYTES = 4096


class TarShards(ImageSource):
    """Tar files of ``key.jpg`` (or .jpeg, .png, .webp) with an optional ``key.cls`` or ``key.json`` beside it.

    That is what img2dataset writes, too. The label is the number in ``key.cls``, or ``label`` or ``cls`` of the object
    in ``key.json``; where neither is a number it is unknown. Other members are ignored: captions, metadata of images
    that could not be downloaded, everything after the first dot of a file name that makes no such pair. A tar file
    without images is a shard of length 0, since of ten thousand shards of a crawl some are.

    Args:
        urls: Paths, folders, or patterns such as ``train-{00000..00009}.tar`` and ``train-*.tar``; uncompressed local
            files.
        class_names_file: A text file with one class name per line; labels are then held to it.

    References:
        https://github.com/webdataset/webdataset, https://github.com/rom1504/img2dataset
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
            UserError: If it is damaged, or one of its labels is no class.
        """
        return TarShard(self._paths[index], len(self.class_names) if self.class_names else None)

    def identity(self) -> str:
        """Return a hash of each file's name, size and first bytes."""
        digest = hashlib.sha256()
        for path in self._paths:
            with path.open("rb") as file:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                digest.update(file.read(_FIRST_BYTES))
        return f"TarShards-{digest.hexdigest()[:16]}"

    @cached_property
    def _paths(self) -> list[Path]:
        if not self.urls:
            raise UserError("urls is empty: give at least one tar file")
        return local_files(self.urls, kind="tar", suffixes=(".tar",))


class TarShard(Shard):
    """One tar file: `members` finds where each image lies, `os.pread` reads it without a shared position.

    Args:
        path: The file.
        num_classes: Labels have to be below it; None accepts any.
    """

    def __init__(self, path: Path, num_classes: int | None) -> None:
        self.name, self._path, self._num_classes = path.stem, path, num_classes
        samples = members.samples(path)
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._keys: list[str] = []
        self._places: list[tuple[int, int]] = []  # (offset, size)
        self._labels: list[int] = []
        self._unreadable: dict[int, str] = {}  # row → why its label is not known
        for key, sample in samples.items():
            image = members.image_of(path, key, sample)
            if image is None:
                continue
            try:
                label = self._label(key, sample)
            except ImageError as error:
                self._unreadable[len(self._keys)], label = str(error), -1
            self._keys.append(key)
            self._places.append((image.offset, image.size))
            self._labels.append(label)

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
            ImageError: If the disk does not give it back, or its metadata is damaged.
        """
        if row in self._unreadable:
            raise ImageError(self._unreadable[row])
        try:
            data = os.pread(self._descriptor, self._places[row][1], self._places[row][0])
        except OSError as error:
            raise ImageError(f"{self._path} cannot be read ({error.strerror})") from error
        return Sample(self._keys[row], self._labels[row], data)

    def _label(self, key: str, sample: members.Sample) -> int:
        """Read the label beside an image, −1 if there is none.

        Raises:
            ImageError: If the metadata is damaged, which concerns this one sample.
            UserError: If a label is no class, which concerns whoever made the shards.
        """
        extension = next((name for name in ("cls", "json") if name in sample), None)
        if extension is None:
            return -1
        text = os.pread(self._descriptor, sample[extension].size, sample[extension].offset)
        if extension == "json":
            label = _json_label(f"{self._path}: {key}.json", text)
            if label == -1:
                return -1
        else:
            try:
                label = int(text)
            except ValueError as error:
                raise UserError(f"{self._path}: {key}.cls holds no class index but {text[:40]!r}") from error
        if not 0 <= label < (self._num_classes or label + 1):
            accepted = f"0 to {self._num_classes - 1}" if self._num_classes else "integers from 0"
            raise UserError(f"{self._path}: {key}.{extension} holds the label {label!r}, accepted are {accepted}")
        return label


def _json_label(where: str, text: bytes) -> int:
    """Return the class in metadata, −1 if it names none: a crawl may well have a ``label`` of its own, such as a word.

    Raises:
        ImageError: If it is no JSON object.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImageError(f"{where} is damaged: {text[:40]!r}") from error
    if not isinstance(fields, dict):
        raise ImageError(f"{where} holds no object but {text[:40]!r}")
    label = fields.get("label", fields.get("cls"))
    return label if type(label) is int else -1
