"""Hashtags of any script and length, and which of them name a class."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from lit_knn.errors import UserError

IMAGENET = Path(__file__).with_name("imagenet_hashtags.json")
_FIELDS = ("hashtags", "tags")
_JOINERS = "\u200c\u200d"  # of Persian and of Indic scripts, within a word
_VARIANTS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")  # what an emoji leaves behind


def canonical(tag: str) -> str:
    """Return the form in which hashtags are compared: letters, digits and their marks, without case; "" if none.

    ``#Golden_Retriever``, ``golden retriever`` and ``GOLDEN-RETRIEVER`` are the same; so are full and half width, and
    accents in one or two code points, but not a letter with and without accent.

    Example:
        >>> canonical("#Golden_Retriever"), canonical("Ｃａｔ"), canonical("#🐱")
        ('goldenretriever', 'cat', '')
    """
    if tag.isascii():
        return "".join(filter(str.isalnum, tag.lower()))
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", tag).casefold())
    return unicodedata.normalize("NFKC", "".join(filter(_is_letter_or_mark, _VARIANTS.sub("", text))))


def hashtags(metadata: object, caption: str = "") -> set[str]:
    """Return the canonical hashtags of an image.

    The list or text in its metadata's ``hashtags`` or else ``tags``; where there is neither, the words after a # in
    the caption beside the image and in the metadata's own. What has another type holds none.

    Args:
        metadata: What was parsed from JSON.
        caption: The text beside the image.
    """
    fields = metadata if isinstance(metadata, dict) else {}
    words = next((words for name in _FIELDS if (words := _tags(fields.get(name)))), None)
    if words is None:
        own = fields.get("caption")
        words = _marked(caption) + (_marked(own) if isinstance(own, str) else [])
    return {tag for tag in map(canonical, words) if tag}


@dataclass(frozen=True)
class HashtagList:
    """Canonical hashtags and the WordNet ids of the classes that each names: most name one, some two.

    Args:
        synsets: By hashtag.

    References:
        Mahajan et al., Exploring the Limits of Weakly Supervised Pretraining, 2018, section 2.1,
        https://arxiv.org/abs/1805.00932: hashtags are matched to the synonyms of a class.

    Differences from the paper:
        It has about 1,500 hashtags for ImageNet's classes, those that somebody uses; `IMAGENET` has all synonyms.
    """

    synsets: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, path: Path = IMAGENET) -> HashtagList:
        """Read a list as ``tools/derive_hashtags.py`` writes it.

        Raises:
            UserError: If it cannot be read, or a hashtag of it is not canonical, so that nothing would ever match.
        """
        try:
            tags = json.loads(path.read_text(encoding="utf-8"))["tags"]
            synsets = {tag: tuple(map(str, ids)) for tag, ids in tags.items() if isinstance(ids, list)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no list of hashtags ({error}): tools/derive_hashtags.py makes one") from error
        for tag in tags:
            if tag not in synsets or canonical(tag) != tag or not synsets[tag]:
                raise UserError(f"{path}: {tag!r} is no canonical hashtag with a list of WordNet ids")
        return cls(synsets)

    def without(self, tags: Iterable[str]) -> HashtagList:
        """Leave hashtags out, in whatever form they are given."""
        denied = set(map(canonical, tags))
        return HashtagList({tag: ids for tag, ids in self.synsets.items() if tag not in denied})

    def only(self, classes: Iterable[str]) -> HashtagList:
        """Keep the hashtags of some classes.

        Raises:
            UserError: If the list knows no hashtag of one of them.
        """
        wanted, known = set(classes), {synset for ids in self.synsets.values() for synset in ids}
        if missing := sorted(wanted - known):
            raise UserError(
                f"no hashtag names class {missing[0]}: tools/derive_hashtags.py makes lists of other classes"
            )
        kept = {tag: tuple(synset for synset in ids if synset in wanted) for tag, ids in self.synsets.items()}
        return HashtagList({tag: ids for tag, ids in kept.items() if ids})

    def match(self, tags: Iterable[str]) -> dict[str, list[str]]:
        """Return the canonical hashtags that name a class, sorted, and the classes of each."""
        return {tag: list(self.synsets[tag]) for tag in sorted(set(tags)) if tag in self.synsets}

    def identity(self) -> str:
        """Return a hash of all of it."""
        text = json.dumps({tag: list(ids) for tag, ids in self.synsets.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _tags(value: object) -> list[str]:
    """Return the tags of a field: the texts of a list; or of a text, its #words or what commas, else spaces, part."""
    if isinstance(value, list):
        return [tag for tag in value if isinstance(tag, str)]
    if not isinstance(value, str):
        return []
    parts = re.split(r"[,;]" if re.search("[,;]", value) else r"\s", value)
    return _marked(value) or [part for part in parts if part.strip()]


def _marked(text: str) -> list[str]:
    """Return the words after a #; those of ``&#39;`` and ``http://a/#b`` are none."""
    runs = re.findall(r"(?<![&/])[#＃]([^\s#＃]+)", text)
    return ["".join(takewhile(_is_word, run)) for run in runs]


def _is_word(character: str) -> bool:
    return character in _JOINERS or character == "_" or _is_letter_or_mark(character)


def _is_letter_or_mark(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character) in ("Mn", "Mc")  # vowels of Hindi are marks
