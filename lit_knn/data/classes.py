"""Which class of the network a folder, a word or a number stands for."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from lit_knn.data.sources.regular_files import read_regular
from lit_knn.errors import UserError, counted

Given = str | list[str | int] | dict[str, int]  # what `classes:` takes
IMAGENET = Path(__file__).with_name("imagenet_classes.txt")  # ids and words of WordNet, as torchvision chose them
_WORDNET_ID = re.compile(r"n\d{8}")
_AMBIGUOUS = -1
_HOW = "give `classes:` a file of a name per line (or a list) in the order of the network's classes, or {name: number}"
_WORDNET = (
    "if it was trained on others, give `classes:` a file of a WordNet id per line (or a list) in the order of its "
    "classes; `ls FOLDER > classes.txt` writes one of class folders in sorted order"
)


@dataclass(frozen=True)
class Classes:
    """The classes that a source knows; their numbers have to be those of the network.

    Attributes:
        origin: Who says what, as the beginning of a sentence.
        numbers: The number of each word that stands for a class in the data; −1 if several share the word.
        names: What people call each number.
        complete: Whether these are all classes that the network can have.
        remedy: What to do if they are not the network's, as the end of a sentence.
        counted: Whether nothing but the order of the words says their numbers.
    """

    origin: str
    numbers: Mapping[str, int]
    names: Mapping[int, str]
    complete: bool = True
    remedy: str = _HOW
    counted: bool = False

    def number(self, word: str) -> int | None:
        """Return the class that a word stands for, None if there is none.

        Raises:
            UserError: If several classes share the word.
        """
        number = self.numbers.get(_form(word))
        if number == _AMBIGUOUS:
            raise UserError(f"{self.origin}, but {word!r} is the name of several: each needs its own")
        return number

    @property
    def listing(self) -> list[str]:
        """Names in the order of the numbers; a number without name is called by itself."""
        return [self.names.get(number, str(number)) for number in range(max(self.names) + 1)]

    def problem(self, num_classes: int) -> str:
        """Return why these cannot be the classes of a network of so many, as one sentence; "" if they can."""
        count = max(self.names) + 1
        if count == num_classes or (count < num_classes and not self.complete):
            return ""
        return f"{self.origin}, but the network has {num_classes:,} classes: {self.remedy}"

    def clash(self, others: Classes) -> str:
        """Return which word that was counted through has another number elsewhere, as one sentence; "" if none has.

        Args:
            others: If they are not as many, it is no contradiction: a network may have been trained on some of them.
        """
        if not self.counted or len(self.names) != len(others.names):
            return ""
        for word, number in self.numbers.items():
            if others.numbers.get(word, number) != number:
                there = f"{others.origin} and it is number {others.numbers[word]}"
                return f"{self.origin} and {word!r} is number {number} of them, but {there}: {self.remedy}"
        return ""


@cache
def imagenet() -> Classes:
    """Return the 1,000 classes of ILSVRC 2012, which are numbered in the order of their WordNet ids."""
    lines = IMAGENET.read_text(encoding="utf-8").splitlines()
    pairs = [(word, name) for word, _, name in (line.partition(" ") for line in lines)]
    return _ordered("WordNet ids of ImageNet are its 1,000 classes", pairs, _WORDNET)


def given(classes: Given) -> Classes:
    """Return what a configuration says.

    Args:
        classes: Names in the order of the numbers; the number of each name; or a file of either. That is JSON, or text
            with a class per line: a name, or a WordNet id and a name for people. ``ImageNet`` is its 1,000 classes.

    Raises:
        UserError: If there are none, or the file makes no sense.
    """
    if isinstance(classes, (list, dict)):
        return _parsed("`classes:`", classes)
    if classes == "ImageNet":
        return imagenet()
    path = Path(classes).expanduser()
    try:
        text = read_regular(path).decode("utf-8-sig")
        return _parsed(str(path), json.loads(text) if path.suffix.lower() == ".json" else text.splitlines())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"`classes:` {classes} cannot be read ({error}): {_HOW}") from error


def number_of(word: str, known: Classes | None) -> int | None:
    """Return the class that a word stands for: one of those known, or else of ImageNet's WordNet ids; None if none."""
    if known is not None:
        return known.number(word)
    return imagenet().numbers.get(word) if _WORDNET_ID.fullmatch(word) else None


def wordnet_id(key: str) -> str | None:
    """Return the last WordNet id of ImageNet in the name of a file, None if there is none: many copies put it there."""
    found = re.findall(r"(?<![A-Za-z0-9])n\d{8}(?!\d)", key.rpartition("/")[2])
    return next((word for word in reversed(found) if word in imagenet().numbers), None)


def assign(words: Sequence[str], known: Classes | None, where: str, *, ranked: bool = True) -> Classes:
    """Return classes in which each word that a source uses has a number.

    Where nothing is known, WordNet ids of ImageNet are ImageNet's classes; whole numbers are sorted as numbers, other
    words as text. Where names are known, whole numbers that are none of them are the numbers of the classes.

    Args:
        words: Names of folders, or labels in a file.
        known: What the configuration says.
        where: What they are, for messages, such as ``the folders of DIR``.
        ranked: Whether whole numbers need not start at 0, as those of folders. Then they are counted through if nothing
            is known, and otherwise a 0 has to be among them.

    Raises:
        UserError: If a word is no class, or two are the same number.
    """
    whole = all(map(_is_number, words))
    if known is None and all(number_of(word, None) is not None for word in words):
        return imagenet()
    if whole and (not ranked if known is None else all(known.number(word) is None for word in words)):
        return _by_number(words, known, where, ranked)
    if known is None:
        ordered = sorted(words, key=lambda word: (int(word) if whole else 0, word))
        known = _ordered(f"{where} are {counted(len(words), 'class', 'classes')}", [(word, word) for word in ordered])
        known = replace(known, counted=True)
    for word in words:
        if known.number(word) is None:
            some = ", ".join(map(repr, list(known.names.values())[:2]))
            raise UserError(f"{known.origin} ({some}, …), but {where} have {word!r}, which is none of them")
    return known


def _by_number(words: Sequence[str], known: Classes | None, where: str, ranked: bool) -> Classes:
    numbers = {_form(word): int(word) for word in words}
    if known is None:
        names = {number: word for word, number in numbers.items()}
        return Classes(f"{where} are numbers up to {max(names)}", numbers, names, complete=False)
    if beyond := sorted({*numbers.values()} - known.names.keys()):
        raise UserError(f"{known.origin}, but {where} have the number {beyond[0]}: they are counted from 0")
    if ranked and 0 not in numbers.values():
        raise UserError(
            f"{known.origin}, but {where} have numbers and no 0: give `classes:` their names, {{name: number}}"
        )
    return replace(known, numbers=numbers)


def _parsed(where: str, found: Any) -> Classes:
    """Return the classes of a list, or of an object either way round."""
    if isinstance(found, dict) and found:
        if all(type(number) is int and number >= 0 for number in found.values()):
            names = {number: str(word) for word, number in found.items()}
            numbers = _numbers((str(word), number) for word, number in found.items())
            return Classes(f"{where} numbers classes up to {max(names)}", numbers, names, complete=False)
        if all(map(_is_number, found)) and sorted(map(int, found)) == list(range(len(found))):
            found = [found[key] for key in sorted(found, key=int)]
    if isinstance(found, list) and (pairs := [pair for item in found if (pair := _pair(item)) is not None]):
        return _ordered(f"{where} lists {counted(len(pairs), 'class', 'classes')}", pairs)
    raise UserError(f"{where} holds no classes: accepted are a list of names, {{name: number}} and {{number: name}}")


def _pair(item: Any) -> tuple[str, str] | None:
    """Return what the data and what people call a class; None for an empty line.

    Raises:
        UserError: If it is no name.
    """
    if isinstance(item, list) and len(item) == 2:
        return str(item[0]), str(item[1])
    if not isinstance(item, (str, int)):
        raise UserError(f"`classes:` takes names of classes, not {item!r}")
    text = str(item).strip()
    wordnet = re.fullmatch(r"(n\d{8})[\s,:]+(.+)", text)
    return (wordnet[1], wordnet[2]) if wordnet else (text, text) if text else None


def _ordered(origin: str, pairs: Sequence[tuple[str, str]], remedy: str = _HOW) -> Classes:
    numbers = _numbers((word, number) for number, pair in enumerate(pairs) for word in pair)
    return Classes(origin, numbers, {number: name for number, (_, name) in enumerate(pairs)}, remedy=remedy)


def _numbers(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for word, number in pairs:
        form = _form(word)
        numbers[form] = number if numbers.get(form, number) == number else _AMBIGUOUS
    return numbers


def _form(word: str) -> str:
    """Return the form in which words are compared: 01 is 1, and an accent is one character or two."""
    return str(int(word)) if _is_number(word) else unicodedata.normalize("NFC", word.strip())


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 19
