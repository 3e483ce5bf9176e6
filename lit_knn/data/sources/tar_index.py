"""What lies where in a tar file of samples; nothing but headers is read."""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lit_knn.data.base import Failure
from lit_knn.data.sources.image_files import READ, looks_like_image, unread
from lit_knn.errors import UserError

BLOCK = tarfile.BLOCKSIZE
_END = bytes(BLOCK)
_LONGEST = 1 << 20  # bytes of a long name or of a member's further attributes
_REGULAR, _LINKS, _WITHOUT_DATA = (b"0", b"\0", b"7"), (b"1", b"2"), (b"1", b"2", b"3", b"4", b"5", b"6")
_LONG_NAME, _LONG_LINK, _ATTRIBUTES, _GLOBAL, _SPARSE = b"L", b"K", b"x", b"g", b"S"


class Member(NamedTuple):
    """Locate a regular file in a tar file.

    Attributes:
        name: Its path there.
        start: Byte at which its headers start.
        offset: Byte at which its data start.
        size: Bytes of its data.
    """

    name: str
    start: int
    offset: int
    size: int


class Listing(NamedTuple):
    """Hold what was found in a tar file.

    Attributes:
        samples: The members of each sample, by its key.
        unread: The files that look like images but are not read as the image of a sample, and why.
    """

    samples: dict[str, Sample]
    unread: list[Failure]


Sample = dict[str, Member]


def samples(path: Path) -> dict[str, Sample]:
    """Return a tar file's samples by key; see `listing`."""
    return listing(path).samples


def listing(path: Path) -> Listing:
    """List the samples of a tar file by WebDataset's rule, in the order of the file; only headers are read.

    A key ends at the first dot of a file name; the rest is the extension, in lower case. Files of one key are one
    sample. Links are left out, and so is what lies in ``__folder__`` or is called ``__name__``.

    Raises:
        UserError: If the file is missing, damaged or cut short, or a key has an extension twice.

    References:
        https://github.com/webdataset/webdataset
    """
    found: dict[str, Sample] = {}
    others: list[tuple[str, str]] = []
    try:
        with path.open("rb") as file:
            for member, is_link in _members(file):
                if is_link or re.match(r"__[^/]*__($|/)", member.name):
                    others.append((member.name, "links are not followed" if is_link else "WebDataset skips __name__"))
                    continue
                match = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", member.name)
                if match is None:
                    continue
                parts = found.setdefault(match[1], {})
                if match[2].lower() in parts:
                    raise UserError(f"{path} holds {member.name} twice")
                parts[match[2].lower()] = member
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{path} is cut short, damaged or no uncompressed tar file ({error}): write it again"
        ) from error
    for sample in found.values():
        others += _lost(sample)
    return Listing(found, [unread(*other) for other in others if looks_like_image(posixpath.basename(other[0]))])


def _lost(sample: Sample) -> Iterator[tuple[str, str]]:
    """Yield what is no image of a sample without one, or a number after the dot of a name makes no other part of it."""
    whole = any(f".{extension}" in READ for extension in sample)
    for extension, member in sample.items():
        if not whole or extension[0].isdigit():
            yield member.name, "a key ends at the first dot" if "." in extension else "this format is not read"


def image_of(path: Path, key: str, sample: Sample) -> Member | None:
    """Return the member that is a sample's image; None if it has none, as after a failed download.

    Raises:
        UserError: If a sample has two images.
    """
    images = [extension for extension in sample if f".{extension}" in READ]
    if len(images) > 1:
        raise UserError(f"{path} holds two images of key {key!r}: .{images[0]} and .{images[1]}")
    return sample[images[0]] if images else None


def padded(size: int) -> int:
    """Return how many bytes data of ``size`` bytes take up in a tar file: the next multiple of 512."""
    return -(-size // BLOCK) * BLOCK


def checksum(header: bytes) -> int:
    """Return the checksum of a header of 512 bytes: their sum, with the 8 of the checksum itself as spaces."""
    return sum(header) - sum(header[148:156]) + 8 * ord(" ")


def _members(file: BinaryIO) -> Iterator[tuple[Member, bool]]:
    """Yield the regular files of a tar file and its links (with True), and prove that it is complete.

    `tarfile` takes a cut between two members for the end, and four times as long: WebDataset's writer gives each member
    a header of attributes, and each worker of a loader lists each shard.

    Raises:
        tarfile.ReadError: If a header makes no sense, or there is no mark at the end.
    """
    start = position = 0
    name, attributes = "", dict[bytes, bytes]()
    while (header := file.read(BLOCK)) != _END:
        if len(header) < BLOCK:
            raise tarfile.ReadError(f"no end mark after {name}" if name else "it is empty")
        try:
            size, kind = _number(header[124:136]), header[156:157]
            if checksum(header) != _number(header[148:156]):
                raise ValueError("its checksum is another")
            position += BLOCK
            if kind in (_LONG_NAME, _LONG_LINK, _ATTRIBUTES, _GLOBAL):
                if size > _LONGEST:
                    raise ValueError(f"{size} bytes of attributes")
                data = file.read(padded(size))[:size]
                if kind == _LONG_NAME:
                    attributes[b"path"] = data.rstrip(b"\0")
                elif kind == _ATTRIBUTES:
                    attributes |= _records(data)
                position += padded(size)
                continue
            if kind == _SPARSE or any(keyword.startswith(b"GNU.sparse") for keyword in attributes):
                raise ValueError("a sparse file")
            size = int(attributes.get(b"size", size))
            if size < 0:  # what follows would be what went before, for ever
                raise ValueError(f"a size of {size} bytes")
        except ValueError as error:
            raise tarfile.ReadError(f"the header at byte {start} makes no sense: {error}") from error
        name = (attributes.get(b"path") or _name(header)).decode("utf-8", "surrogateescape")
        if kind in _REGULAR or kind in _LINKS:
            yield Member(name, start, position, size), kind in _LINKS
        if kind not in _WITHOUT_DATA:
            position += padded(size)
        file.seek(position)
        start, attributes = position, {}
    if not name and file.seek(0, 2) > tarfile.RECORDSIZE:  # what a power cut may leave, not what an empty tar file is
        raise tarfile.ReadError("nothing but zeros")


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _number(field: bytes) -> int:
    """Parse octal digits, or the binary number that GNU's tar writes where they are too few."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not digits.isdigit():  # int() takes signs and underscores as well
        raise ValueError("letters where a number has to be")
    return int(digits, 8)


def _records(data: bytes) -> dict[bytes, bytes]:
    """Parse ``length keyword=value`` lines."""
    records, start = {}, 0
    while start < len(data):
        space = data.index(b" ", start)
        stop = start + int(data[start:space])
        if stop <= space:
            raise ValueError("an attribute without length")
        keyword, _, value = data[space + 1 : stop - 1].partition(b"=")
        records[keyword], start = value, stop
    return records
