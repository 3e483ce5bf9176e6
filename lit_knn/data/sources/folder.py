"""Any folder of images, one sub-folder per class or none at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from lit_knn.data.base import Failure, ImageSource, Sample, Shard
from lit_knn.data.classes import Classes, Given, assign, given, wordnet_id
from lit_knn.data.decoding import ImageError
from lit_knn.data.sources.image_files import READ, images_below, is_image, looks_like_image, unread
from lit_knn.data.sources.label_file import LabelFile
from lit_knn.data.sources.regular_files import read_regular
from lit_knn.errors import UserError


class ImageFolder(ImageSource):
    """Read a folder of images, in which each sub-folder with images is a class.

    Sub-folders that are called by WordNet ids of ImageNet are its classes, for a network of 1,000. Others are numbered
    in their order, whole numbers by value and all else as text, and must be as many as the network's classes, unless
    ``classes`` says which they are. Without sub-folders labels come from a file or from WordNet ids in the files'
    names, or are unknown, −1. Only counts stay in memory; a shard lists the folders it touches when it is opened.

    Args:
        root: Folder of the images.
        classes: The network's classes as the sub-folders are called: a list in the order of its outputs, the number of
            each ({cat: 3}), a file of either (JSON, or text with a class per line, where a WordNet id may go before a
            readable name), or ``ImageNet``.
        labels: File with an image and its class in each line, a comma or spaces apart, for images without such
            sub-folders; a whole number is the class of this number, unless ``classes`` has it as a name.
        shard_size: Images per shard, in sorted order; the unit of resuming an extraction.
    """

    labels_from = "give each class a sub-folder, or `labels:` a file with image and class in each line"

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Given | None = None,
        labels: str | Path | None = None,
        shard_size: int = 10_000,
    ) -> None:
        if shard_size < 1:
            raise UserError(f"shard_size is {shard_size}: accepted are 1 and more")
        self.root, self.classes, self.labels, self.shard_size = Path(root), classes, labels, shard_size

    @property
    def known_classes(self) -> Classes | None:
        """What the configuration says of classes, or the source itself."""
        return None if self.classes is None else given(self.classes)

    @cached_property
    def label_file(self) -> LabelFile | None:
        """The file of labels."""
        return None if self.labels is None else LabelFile(Path(self.labels).expanduser())

    @cached_property
    def found_classes(self) -> Classes | None:
        """The classes, in which each folder or word of the file has a number; None if the images have neither.

        Raises:
            UserError: If one is no class, or the file names no image.
        """
        words = list(dict.fromkeys(word for pair in self._places() if (word := self._word(*pair)) is not None))
        if self.label_file is not None and not words:
            raise UserError(f"{self.label_file.path} names no image of {self.root}, such as {next(self._places())[1]}")
        where = f"the folders of {self.root}" if self.label_file is None else f"the labels of {self.label_file.path}"
        return assign(words, self.known_classes, where, ranked=self.label_file is None) if words else None

    @cached_property
    def folders(self) -> list[str]:
        """The sub-folders, sorted; hidden ones are left out.

        Raises:
            UserError: If the root is no folder, or mixes sub-folders with images.
        """
        if not self.root.is_dir():
            seen = "" if self.root.is_absolute() else f", seen from {Path.cwd()}"
            raise UserError(f"{self.root} is not a folder{seen}")
        entries = sorted(entry for entry in self.root.iterdir() if not entry.name.startswith("."))
        folders = [entry.name for entry in entries if entry.is_dir()]
        loose = [entry.name for entry in entries if is_image(entry.name) and entry.is_file()]
        if folders and loose:
            raise UserError(f"{self.root} holds folders ({folders[0]}, …) beside images ({loose[0]}, …): keep only one")
        return folders

    def shard_names(self) -> list[str]:
        """Return one name per `shard_size` images.

        Raises:
            UserError: If there are no images, or a sub-folder is no class.
        """
        _ = self.found_classes  # what cannot be labeled is not listed either
        total = sum(count for _, count in self._counts)
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
        for folder, count in self._counts:
            if first < stop and first + count > start:
                images = images_below(self.root, folder).images
                if len(images) != count:
                    raise UserError(f"{self.root / folder} changed from {count} to {len(images)} images: start again")
                chosen = images[max(start - first, 0) : stop - first]
                keys += chosen
                labels += [self._label(folder, key) for key in chosen]
            first += count
        return FileShard(name, self.root, keys, labels)

    def unread(self) -> list[Failure]:
        """Return files of formats that are not read, and what lies beside the folders of classes."""
        return self._scan[2]

    def identity(self) -> str:
        """Return a hash of all file names (not of what is in them: that would read the whole data set) and labels."""
        labels = [self._label(*place) for place in self._places()]
        digest = hashlib.sha256(f"{self._scan[1]} {labels}".encode())
        return f"{type(self).__name__}-{digest.hexdigest()[:16]}-by-{self.shard_size}"

    def shared(self, other: ImageSource) -> str:
        """Return a folder of both, wherever links lead, or that all files of both have the same names."""
        if not isinstance(other, ImageFolder):
            return super().shared(other)
        mine, theirs = self._resolved(), other._resolved()
        above_mine, above_theirs = (
            {up for place in places for up in (place, *place.parents)} for places in (mine, theirs)
        )
        if both := sorted((above_mine & theirs) | (above_theirs & mine)):
            return f"{both[0]} is a folder of both"
        return f"{self.root} and {other.root} have the same files by name" if self._scan[1] == other._scan[1] else ""

    def _resolved(self) -> set[Path]:
        return {(self.root / folder).resolve() for folder, _ in self._counts}

    def _places(self) -> Iterator[tuple[str, str]]:
        """Yield what a label may hang on: each folder of a class, else each image."""
        for folder, _ in self._counts:
            yield from ((folder, key) for key in ([""] if folder else images_below(self.root, "").images))

    def _word(self, folder: str, key: str) -> str | None:
        if self.label_file is not None:
            return self.label_file.word(key)
        return folder or wordnet_id(key)

    def _label(self, folder: str, key: str) -> int:
        word = self._word(folder, key)
        number = self.found_classes.number(word) if self.found_classes and word is not None else None
        return -1 if number is None else number

    @property
    def _counts(self) -> list[tuple[str, int]]:
        """The folders with images, and how many there are in each.

        Raises:
            UserError: If there are none.
        """
        if not self._scan[0]:
            raise UserError(f"{self.root} holds no images: accepted are {', '.join(READ)}")
        return self._scan[0]

    @cached_property
    def _scan(self) -> tuple[list[tuple[str, int]], str, list[Failure]]:
        """Count and hash the file names of each folder, holding one folder at a time; tell what looks like an image."""
        digest, counts = hashlib.sha256(), []
        folders = [] if self.label_file else self.folders
        beside = sorted(path.name for path in self.root.iterdir() if path.is_file()) if folders else []
        others = [unread(name) for name in beside if looks_like_image(name)]
        for folder in folders or [""]:
            images, unread_too = images_below(self.root, folder)
            others += unread_too
            if images:
                digest.update("\0".join([folder, *images, "\n"]).encode(errors="surrogateescape"))
                counts.append((folder, len(images)))
        return counts, digest.hexdigest()[:16], others


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
            data = read_regular(self._root / self._keys[row])
        except OSError as error:
            raise ImageError(f"the file cannot be read ({error.strerror})") from error
        return Sample(self._keys[row], self._labels[row], data)
