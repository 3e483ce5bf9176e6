"""Any folder of images, one sub-folder per class or none at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from lit_knn.data.base import ImageSource, Sample, Shard
from lit_knn.data.decoding import ImageError
from lit_knn.errors import UserError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class _Class(NamedTuple):
    folder: str
    label: int
    images: int


class ImageFolder(ImageSource):
    """A folder of images: each sub-folder is a class, numbered in sorted order; without sub-folders labels are −1.

    Only counts stay in memory; a shard lists the folders it touches when it is opened.

    Args:
        root: The folder.
        shard_size: Images per shard, in sorted order; the unit of resuming an extraction.
    """

    def __init__(self, *, root: str | Path, shard_size: int = 10_000) -> None:
        if shard_size < 1:
            raise UserError(f"shard_size is {shard_size}: accepted are 1 and more")
        self.root, self.shard_size = Path(root), shard_size

    @property
    def class_names(self) -> list[str] | None:
        """The names of the sub-folders."""
        return self.folders or None

    @cached_property
    def folders(self) -> list[str]:
        """The sub-folders, sorted; hidden ones are left out.

        Raises:
            UserError: If the root is no folder, or mixes sub-folders with images.
        """
        if not self.root.is_dir():
            raise UserError(f"{self.root} is not a folder")
        entries = sorted(entry for entry in self.root.iterdir() if not entry.name.startswith("."))
        folders = [entry.name for entry in entries if entry.is_dir()]
        loose = [entry.name for entry in entries if entry.suffix.lower() in EXTENSIONS and entry.is_file()]
        if folders and loose:
            raise UserError(f"{self.root} holds folders ({folders[0]}, …) beside images ({loose[0]}, …): keep only one")
        return folders

    def shard_names(self) -> list[str]:
        """Return one name per `shard_size` images.

        Raises:
            UserError: If there are no images.
        """
        total = sum(a_class.images for a_class in self._scan[0])
        if total == 0:
            raise UserError(f"{self.root} holds no images: accepted are {', '.join(EXTENSIONS)}")
        return [f"{self.root.name}-{index:05d}" for index in range(-(-total // self.shard_size))]

    def open_shard(self, index: int) -> FileShard:
        """List the files of one shard.

        Raises:
            UserError: If files came or went since they were counted.
        """
        name = self.shard_names()[index]
        start, stop = index * self.shard_size, (index + 1) * self.shard_size
        keys: list[str] = []
        labels: list[int] = []
        first = 0
        for folder, label, count in self._scan[0]:
            if first < stop and first + count > start:
                images = _images(self.root, folder)
                if len(images) != count:
                    raise UserError(f"{self.root / folder} changed from {count} to {len(images)} images: start again")
                chosen = images[max(start - first, 0) : stop - first]
                keys += chosen
                labels += [label] * len(chosen)
            first += count
        return FileShard(name, self.root, keys, labels)

    def identity(self) -> str:
        """Return a hash of all file names (not of what is in them: that would read the whole data set)."""
        return f"{type(self).__name__}-{self._scan[1]}-by-{self.shard_size}"

    @cached_property
    def _scan(self) -> tuple[list[_Class], str]:
        """Count and hash the file names of each class, holding one class at a time."""
        digest, classes = hashlib.sha256(), []
        for label, folder in list(enumerate(self.folders)) or [(-1, "")]:
            images = _images(self.root, folder)
            digest.update("\0".join([folder, *images, "\n"]).encode(errors="surrogateescape"))
            classes.append(_Class(folder, label, len(images)))
        return classes, digest.hexdigest()[:16]


class FileShard(Shard):
    """Image files below one root."""

    def __init__(self, name: str, root: Path, keys: list[str], labels: list[int]) -> None:
        self.name, self._root, self._keys, self._labels = name, root, keys, labels

    def __len__(self) -> int:
        return len(self._keys)

    def keys(self) -> Sequence[str]:
        """Return paths below the root."""
        return self._keys

    def read(self, row: int) -> Sample:
        """Read one file.

        Raises:
            ImageError: If it cannot be read.
        """
        try:
            data = (self._root / self._keys[row]).read_bytes()
        except OSError as error:
            raise ImageError(f"the file cannot be read ({error.strerror})") from error
        return Sample(self._keys[row], self._labels[row], data)


def _images(root: Path, folder: str) -> list[str]:
    """List the images below a folder, sorted, as paths below the root."""
    return sorted(
        (Path(parent) / name).relative_to(root).as_posix()
        for parent, _, names in os.walk(root / folder, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
    )
