"""Which images of a tar file a hashtag names the class of, and a tar file of nothing but these."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from lit_knn.data.curation.hashtags import HashtagList, hashtags
from lit_knn.data.sources.tar_index import BLOCK, Member, Sample, checksum, image_of, padded, samples
from lit_knn.errors import UserError

_CHUNK = 1 << 20


class Described(NamedTuple):
    """An image and what is said about it."""

    key: str
    sample: Sample
    fields: dict[str, Any]
    tags: set[str]


def count_hashtags(path: Path, known: HashtagList) -> Counter[str]:
    """Return how many images of a tar file have each hashtag of the list.

    Raises:
        UserError: If the file is damaged, or a key comes twice.
    """
    counts: Counter[str] = Counter()
    with path.open("rb") as source:
        for image in _described(path, source, Counter()):
            counts.update(known.match(image.tags).keys())
    return counts


def copy_matching(path: Path, out: IO[bytes], chosen: HashtagList) -> dict[str, Counter[str]]:
    """Copy the images of a tar file that have a hashtag of the list, with all members of their samples, to another.

    What is copied stays byte for byte as it is, headers included, but for its JSON, where ``targeted`` tells the
    hashtags that matched and the WordNet ids of each. Memory grows with the number of members, not with their bytes.

    Returns:
        ``images`` counts them, those kept, members without image and images with unreadable metadata (which are left
        out); ``hashtags`` and ``synsets`` count the images kept for each.

    Raises:
        UserError: If the file is damaged, or a key comes twice.
    """
    tally: Counter[str] = Counter(images=0, kept=0, without_image=0, unreadable_metadata=0)
    tags: Counter[str] = Counter()
    synsets: Counter[str] = Counter()
    with path.open("rb") as source:
        for image in _described(path, source, tally):
            matched = chosen.match(image.tags)
            if matched:
                tally["kept"] += 1
                tags.update(matched.keys())
                synsets.update({synset for ids in matched.values() for synset in ids})
                _copy(source, out, image, matched)
    out.write(bytes(2 * BLOCK))
    out.write(bytes(-out.tell() % tarfile.RECORDSIZE))
    return {"images": tally, "hashtags": tags, "synsets": synsets}


def _described(path: Path, source: IO[bytes], tally: Counter[str]) -> Iterator[Described]:
    """Yield the images of a tar file one by one, and count them and what is left out.

    Raises:
        UserError: If the file is damaged, or a key comes twice.
    """
    for key, sample in samples(path).items():
        if image_of(path, key, sample) is None:
            tally["without_image"] += 1
            continue
        tally["images"] += 1
        try:
            fields = json.loads(_data(source, sample["json"])) if "json" in sample else {}
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            tally["unreadable_metadata"] += 1
            continue
        caption = _data(source, sample["txt"]).decode("utf-8", "replace") if "txt" in sample else ""
        yield Described(key, sample, fields, hashtags(fields, caption))


def _copy(source: IO[bytes], out: IO[bytes], image: Described, matched: dict[str, list[str]]) -> None:
    """Copy the members of a sample, headers and all, but for its JSON: this one gets what matched."""
    text = json.dumps({**image.fields, "targeted": matched}).encode()
    for extension, member in image.sample.items():
        source.seek(member.start)
        if extension == "json":
            headers = source.read(member.offset - member.start)
            out.write(headers[:-BLOCK] + _resized(headers[-BLOCK:], len(text)) + _filled(text))
            continue
        left = member.offset + padded(member.size) - member.start
        while left:
            chunk = source.read(min(left, _CHUNK))
            if not chunk:
                raise UserError(f"{source.name} became shorter while it was read")
            left -= out.write(chunk)
    if "json" not in image.sample:
        info = tarfile.TarInfo(f"{image.key}.json")
        info.size = len(text)
        out.write(info.tobuf(tarfile.PAX_FORMAT) + _filled(text))


def _resized(header: bytes, size: int) -> bytes:
    """Return a header with another size."""
    header = header[:124] + b"%011o\0" % size + header[136:]
    return header[:148] + b"%06o\0 " % checksum(header) + header[156:]


def _filled(data: bytes) -> bytes:
    return data.ljust(padded(len(data)), b"\0")


def _data(source: IO[bytes], member: Member) -> bytes:
    """Read a small member."""
    source.seek(member.offset)
    return source.read(member.size)
