"""What lies where in a tar file of samples; nothing but headers is read."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

from lit_knn.errors import UserError

BLOCK = tarfile.BLOCKSIZE
IMAGES = ("jpg", "jpeg", "png", "webp")

Sample = dict[str, tarfile.TarInfo]


def samples(path: Path) -> dict[str, Sample]:
    """List a tar file by WebDataset's rule: key → extension → member, in the order of the file.

    A key ends at the first dot of a file name; the rest is the extension, in lower case. Memory grows with the members
    of this one file, about 1 KiB each.

    Raises:
        UserError: If the file is missing, damaged or cut short, or a key has an extension twice.

    References:
        https://github.com/webdataset/webdataset
    """
    found: dict[str, Sample] = {}
    for member in _members(path):
        match = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]*)", member.name)
        if not member.isreg() or match is None:
            continue
        parts = found.setdefault(match[1], {})
        if match[2].lower() in parts:
            raise UserError(f"{path} holds {member.name} twice")
        parts[match[2].lower()] = member
    return found


def image_of(path: Path, key: str, sample: Sample) -> tarfile.TarInfo | None:
    """Return the member that is the sample's image, None if there is none: metadata of a failed download, say.

    Raises:
        UserError: If there are two.
    """
    images = [extension for extension in IMAGES if extension in sample]
    if len(images) > 1:
        raise UserError(f"{path} holds two images of key {key!r}: .{images[0]} and .{images[1]}")
    return sample[images[0]] if images else None


def blocks(member: tarfile.TarInfo) -> int:
    """Return the bytes that the data of a member takes up in the file, padding included."""
    return -(-member.size // BLOCK) * BLOCK


def _members(path: Path) -> list[tarfile.TarInfo]:
    """List a tar file and prove that it is complete: a cut between two members looks like the end to `tarfile`."""
    try:
        with tarfile.open(path, "r:") as tar, path.open("rb") as file:
            members = tar.getmembers()
            if members:
                file.seek(members[-1].offset_data + blocks(members[-1]))
                if file.read(BLOCK) != bytes(BLOCK):
                    raise tarfile.ReadError(f"no end mark after {members[-1].name}")
            elif path.stat().st_size > tarfile.RECORDSIZE:  # what a power cut may leave, not what an empty tar file is
                raise tarfile.ReadError("nothing but zeros")
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{path} is cut short, damaged or no uncompressed tar file ({error}): write it again"
        ) from error
    return members
