"""Which files are images by their names, and what only looks like one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, NoReturn

from lit_knn.data.base import Failure
from lit_knn.errors import UserError

READ = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")  # as torchvision has it
_OTHERS = (
    *(".apng", ".avif", ".dib", ".exr", ".gif", ".heic", ".heif", ".hdr", ".j2k", ".jfif", ".jp2", ".jpe", ".jxl"),
    *(".pbm", ".pnm", ".tga"),
)


class Listing(NamedTuple):
    """Paths below a root: of images, sorted, and of what looks like one and is not read."""

    images: list[str]
    unread: list[Failure]


def is_image(name: str) -> bool:
    """Return whether a file of this name is read; hidden ones are not."""
    return not name.startswith(".") and _extension(name) in READ


def looks_like_image(name: str) -> bool:
    """Return whether a file of this name may be an image, in whatever format."""
    return not name.startswith(".") and _extension(name) in READ + _OTHERS


def unread(key: str, reason: str = "this format is not read") -> Failure:
    """Return the note that something looks like an image and has no row."""
    return Failure(-1, key, reason)


def images_below(root: Path, folder: str) -> Listing:
    """List a folder of a root, and all folders in it.

    Raises:
        UserError: If a folder cannot be listed, or a link leads back to one that it lies in.
    """
    images, others = list[str](), list[str]()
    for parent, folders, names in os.walk(root / folder, followlinks=True, onerror=_refuse):
        for link in (Path(parent, name) for name in folders if os.path.islink(os.path.join(parent, name))):
            if any(
                above.resolve().is_relative_to(link.resolve()) for above in link.parents if above.is_relative_to(root)
            ):
                raise UserError(f"{link} leads back to a folder that it lies in, without end: remove it")
        below = Path(parent).relative_to(root)
        images += [(below / name).as_posix() for name in names if is_image(name)]
        others += [(below / name).as_posix() for name in names if looks_like_image(name) and not is_image(name)]
    return Listing(sorted(images), [unread(name) for name in sorted(others)])


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _refuse(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename} cannot be listed ({error.strerror})") from error
