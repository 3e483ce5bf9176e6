"""Patches drawn at random from the images of a database."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lit_knn.errors import UserError

if TYPE_CHECKING:
    from lit_knn.database.gallery import Gallery

log = logging.getLogger(__name__)
SECONDS = 30.0  # between two lines that say how far it is


def draw_patches(gallery: Gallery, *, count: int, size: int, per_image: int, seed: int) -> npt.NDArray[np.float32]:
    """Return patches of images that are themselves drawn from all rows, so that each class has its share.

    No image and no place in an image is drawn twice. Costs the reading of ``count / per_image`` images.

    Args:
        gallery: Whose images, of any sizes.
        count: How many patches.
        size: S, their side in pixels.
        per_image: How many of an image; more where there are too few images, from each about the same number.
        seed: Of all that is drawn.

    Returns:
        ``(count, 3·S·S)`` in [0, 1], channels first.

    Raises:
        UserError: If there is no image, one of those that are drawn cannot be read or is smaller than a patch, or has
            fewer patches than are to be drawn from it.
    """
    if not len(gallery):
        raise UserError("the database has no rows, and so no patches")
    images = min(len(gallery), -(-count // per_image))
    generator = np.random.default_rng(seed)
    rows = gallery.ids[np.sort(generator.choice(len(gallery), images, replace=False))]
    share, more = divmod(count, images)
    shares = share + (generator.permutation(images) < more)
    patches = np.empty((count, 3, size, size), np.float32)
    done, said = 0, time.monotonic()
    for number, (row, wanted) in enumerate(zip(rows, shares.tolist(), strict=True), 1):
        image = gallery.images(row.view(1, 1))[0, 0].numpy()  # (3, H, W)
        down, across = (side - size + 1 for side in image.shape[1:])
        if min(down, across) < 1 or down * across < wanted:
            raise UserError(
                f"{wanted} patches of {size}×{size} pixels are to be drawn from row {int(row)} of the database, whose "
                f"image of {image.shape[1]}×{image.shape[2]} pixels has {max(0, down) * max(0, across)}: lower count, "
                "per_image or size of the patches, or set data.preprocessing"
            )
        places = np.divmod(generator.choice(down * across, wanted, replace=False), across)
        for patch, top, left in zip(patches[done : done + wanted], *places, strict=True):
            patch[:] = image[:, top : top + size, left : left + size]
        done += wanted
        if time.monotonic() - said >= SECONDS:
            said = time.monotonic()
            log.info("patches: %d of %d images", number, images)
    return patches.reshape(count, -1)
