"""Labels of images in one file beside them, as ImageNet's validation images come."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from lit_knn.data.sources.regular_files import read_regular
from lit_knn.errors import UserError

_META = "meta.mat"
_ACCEPTED = "accepted are lines of an image and its class, parted by a comma, a tab or spaces, or ImageNet's own lists"


class LabelFile:
    """Read the classes of images from a file, in one of three forms.

    - Image and class in each line, as in Kaggle's ``LOC_val_solution.csv`` and Caffe's ``val.txt``.
    - One number in each line, as in ``ILSVRC2012_validation_ground_truth.txt`` of ImageNet's devkit: numbers of its
      own, which ``meta.mat`` beside it translates, in the order of the validation images.
    - One WordNet id in each line, in the same order.

    Args:
        path: The file, with or without a header.

    Raises:
        UserError: If it cannot be read, or gives an image two classes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            lines = [line for line in read_regular(path).decode("utf-8-sig").splitlines() if line.strip()]
            if all(len(line.split()) == 1 and "," not in line for line in lines):
                pairs = _in_order(path, [line.strip() for line in lines])
            else:
                pairs = _named(path, lines)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"labels {path} cannot be read ({error}): {_ACCEPTED}") from error
        self._words: dict[str, str] = {}
        self._bases: dict[str, str | None] = {}
        for name, word in pairs:
            if self._words.setdefault(name, word) != word:
                raise UserError(f"{path} gives {name} two classes, {self._words[name]} and {word}")
            base = name.rpartition("/")[2]
            self._bases[base] = word if self._bases.get(base, word) == word else None

    def word(self, key: str) -> str | None:
        """Return the class of an image as the file calls it, None if it does not tell.

        Args:
            key: Its path below the folder of images; without folder, those that the list has before it do not count.
        """
        name = image_name(key)
        return self._words.get(name) if "/" in name else self._bases.get(name)


def image_name(path: str) -> str:
    """Return a path without the extension of an image, which not all lists write."""
    return re.sub(r"\.[A-Za-z]\w{2,3}$", "", path.strip().removeprefix("./"))


def _named(path: Path, lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield image and class of each line."""
    rows = csv.reader(lines) if "," in lines[0] else (_parted(line) for line in lines)
    for number, fields in enumerate(rows, start=1):
        if len(fields) < 2 or not fields[1].strip():
            raise UserError(f"line {number} of {path} holds no class: {_ACCEPTED}")
        before_boxes = re.match(r"n\d{8}(?=\s)", fields[1])  # Kaggle's
        yield image_name(fields[0]), before_boxes[0] if before_boxes else fields[1].strip()


def _parted(line: str) -> list[str]:
    """Cut a line at its tab; or at a space, the last one before a number or WordNet id, else the first."""
    if "\t" in line:
        return line.split("\t")
    last = line.rsplit(None, 1)
    return last if re.fullmatch(r"\d+|n\d{8}", last[-1]) else line.split(None, 1)


def _in_order(path: Path, words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield image and WordNet id of each line of a list about all validation images."""
    if words and words[0].isdecimal():
        known = _devkit(path)
        if missing := next((word for word in words if word not in known), None):
            raise UserError(f"{path} has the class {missing}, which {path.with_name(_META)} does not tell")
        words = [known[word] for word in words]
    for number, word in enumerate(words, start=1):
        yield f"ILSVRC2012_val_{number:08d}", word


def _devkit(path: Path) -> dict[str, str]:
    """Return the WordNet id of each number of the devkit, whose order is neither that of the ids nor of any network.

    Raises:
        UserError: If what tells them does not lie beside the list.
    """
    from scipy.io import loadmat  # type: ignore[import-untyped]  # half a second of imports that only this list needs
    from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

    meta = path.with_name(_META)
    try:
        synsets = loadmat(meta, squeeze_me=True)["synsets"]
        return {
            str(int(number)): str(word) for number, word in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, MatReadError) as error:
        raise UserError(
            f"{path} has the devkit's own numbers of classes, and {meta}, which tells them, cannot be read ({error}): "
            "keep the devkit's two files together, or give Kaggle's LOC_val_solution.csv or Caffe's val.txt"
        ) from error
