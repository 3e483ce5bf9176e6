"""WebDataset tar shards, read at random: any number of processes and workers sees exactly the same batches."""

from __future__ import annotations

import hashlib
import os
import posixpath
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from lit_knn.data.base import Failure, ImageSource, Sample, Shard, identity_of
from lit_knn.data.classes import Classes, Given, given, imagenet, number_of, wordnet_id
from lit_knn.data.decoding import ImageError
from lit_knn.data.sources import tar_index as members
from lit_knn.data.sources.crawl_folder import Downloads, has_not_finished
from lit_knn.data.sources.file_patterns import local_files, neighboring_files
from lit_knn.data.sources.written_labels import json_label, text_label
from lit_knn.errors import UserError

_FIRST_BYTES = 4096
_COMPRESSED = (".tgz", ".tbz", ".tbz2", ".txz", *(f".tar.{how}" for how in ("gz", "bz2", "xz", "zst", "lz4", "zip")))
_LABELS = 1 << 63  # what a store's column holds


class TarShards(ImageSource):
    """Read tar shards of images as WebDataset and img2dataset write them, each image at random access.

    A sample is ``key.jpg`` (or .png, .webp, .ppm and the other formats of `ImageFolder`) with an optional label:

    - ``key.cls``, or ``label`` or ``cls`` of the object in ``key.json``: a number, a WordNet id of ImageNet, or another
      name in ``classes``;
    - else the key's folder, if it is such a name, or a WordNet id in its file name;
    - else it is unknown, −1.

    Other members are ignored: captions, metadata of failed downloads, further images of a sample (``key.mask.png``).
    What looks like an image and is none by WebDataset's rules, such as ``shot_0.5.png`` of key ``shot_0``, is listed,
    and queries are refused for it. A tar file without images is a shard of length 0, as some of ten thousand of a crawl
    are. What img2dataset is still writing, or has left unfinished, has no ``_stats.json`` beside it: it is listed, and
    becomes a shard once it is finished, also of a database that is there already (see `lit_knn.database.arrivals`).

    Args:
        urls: Paths, folders, or patterns such as ``train-{00000..00009}.tar`` and ``train-*.tar``; uncompressed local
            files.
        classes: The network's classes, to which labels are then held: a list of names in the order of its outputs, the
            number of each ({cat: 3}), a file of either (JSON, or text with a class per line, where a WordNet id may go
            before a readable name), or ``ImageNet``.

    References:
        https://github.com/webdataset/webdataset, https://github.com/rom1504/img2dataset
    """

    labels_from = "put a class into KEY.cls or into `label` of KEY.json, or name the keys' folders in `classes:`"

    def __init__(self, urls: list[str] | str, *, classes: Given | None = None) -> None:
        self.urls = [urls] if isinstance(urls, str) else urls
        self.classes = classes
        self._named_by_wordnet = False

    @cached_property
    def known_classes(self) -> Classes | None:
        """What the configuration says."""
        return None if self.classes is None else given(self.classes)

    @property
    def found_classes(self) -> Classes | None:
        """The same, or ImageNet's where a shard that has been opened needs them; None where labels are numbers."""
        return self.known_classes or (imagenet() if self._named_by_wordnet else None)

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
        shard = TarShard(self._paths[index], self.known_classes)
        self._named_by_wordnet |= shard.named
        return shard

    def unread(self) -> list[Failure]:
        """Return unfinished tar files, and compressed ones that the same folders and patterns name."""
        unfinished = [Failure(-1, str(path), "img2dataset has not finished it") for path in self._files[1]]
        beside = neighboring_files(self.urls, _COMPRESSED)
        return [*unfinished, *(Failure(-1, str(path), "compressed shards are not read") for path in beside)]

    def remark(self) -> str:
        """Return how many addresses gave no image, as far as img2dataset has written it beside its shards."""
        return str(Downloads.beside(self._paths))

    def identity(self) -> str:
        """Return a hash of what each shard is."""
        return identity_of(type(self), self.shard_identities())

    def shard_identities(self) -> list[str]:
        """Return a hash of each file's name, size and first bytes, and of the numbers of the classes."""
        known = self.known_classes
        classes = b"" if known is None else repr(sorted(known.numbers.items())).encode()
        return [hashlib.sha256(classes + start).hexdigest()[:32] for start in self._beginnings]

    def shared(self, other: ImageSource) -> str:
        """Return a shard of both, wherever their copies lie."""
        if not isinstance(other, TarShards):
            return super().shared(other)
        both = [path for path, start in zip(self._paths, self._beginnings, strict=True) if start in other._beginnings]
        return f"{both[0]} is a shard of both" if both else ""

    @cached_property
    def _beginnings(self) -> list[bytes]:
        """The name, size and first bytes of each shard."""
        found = []
        for path in self._paths:
            with path.open("rb") as file:
                found.append(f"{path.name}\0{path.stat().st_size}\0".encode() + file.read(_FIRST_BYTES))
        return found

    @property
    def _paths(self) -> list[Path]:
        return self._files[0]

    @cached_property
    def _files(self) -> tuple[list[Path], list[Path]]:
        """The shards, and those that are none yet."""
        if not self.urls:
            raise UserError("urls is empty: give at least one tar file")
        found = local_files(self.urls, kind="tar", suffixes=(".tar",))
        unfinished = has_not_finished(found)
        finished = [path for path in found if path not in unfinished]
        if not finished:
            raise UserError(
                f"{found[0]} is unfinished, and so is all else that urls name: img2dataset writes {found[0].stem}"
                "_stats.json when a shard is complete"
            )
        return finished, [path for path in found if path in unfinished]


class TarShard(Shard):
    """One tar file: `members` finds where each image lies, `os.pread` reads it without a shared position.

    Args:
        path: The file.
        classes: Labels have to be some of them; None accepts any number and WordNet ids of ImageNet.

    Attributes:
        named: Whether a label is a name, not a number.
    """

    def __init__(self, path: Path, classes: Classes | None) -> None:
        self.name, self._path, self._classes, self.named = path.stem, path, classes, False
        samples, self._unread = members.listing(path)
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

    def __reduce__(self) -> tuple[type[TarShard], tuple[Path, Classes | None]]:
        return TarShard, (self._path, self._classes)  # another process opens its own descriptor

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> Sequence[str]:
        """Return WebDataset's keys: paths up to the first dot of the file name."""
        return self._keys

    def unread(self) -> Sequence[Failure]:
        """Return members that look like images and by WebDataset's rules are none."""
        return self._unread

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
        """Read the label beside an image, or that of its folder, −1 if there is none.

        Raises:
            ImageError: If the metadata is damaged, which concerns this one sample.
            UserError: If a label is no class, which concerns whoever made the shards.
        """
        extension = next((name for name in ("cls", "json") if name in sample), "")
        label: int | str | None = None
        where = f"{self._path}: {key}.{extension}"
        if extension:
            text = os.pread(self._descriptor, sample[extension].size, sample[extension].offset)
            label = json_label(where, text) if extension == "json" else text_label(where, text)
        if isinstance(label, int):
            if not (0 <= label < _LABELS if self._classes is None else label in self._classes.names):
                accepted = "whole numbers from 0" if self._classes is None else f"0 to {max(self._classes.names)}"
                raise UserError(f"{where} holds the label {label!r}, accepted are {accepted}")
            return label
        words = (posixpath.basename(posixpath.dirname(key)), wordnet_id(key) or "") if label is None else (label,)
        number = next((found for word in words if (found := number_of(word, self._classes)) is not None), None)
        self.named |= number is not None
        if number is None and extension == "cls":
            raise UserError(f"{where} holds no class number but {label!r:.40}: name it in `classes:`")
        return -1 if number is None else number
