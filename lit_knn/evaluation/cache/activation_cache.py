"""The folder of the activation cache: one part for each case."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import final

from lit_knn.evaluation.cache.case import CachedCase
from lit_knn.storage.atomic import remove_abandoned
from lit_knn.storage.fingerprint import Fingerprint, digest
from lit_knn.storage.origin import claim


@final  # and so YAML names its arguments without a class path
class ActivationCache:
    """Where a test keeps what the classifier makes of clean and attacked images, so that no batch is attacked twice.

    An image takes 4 bytes for each of its logits and pooled activations at each Δ of each case: of the paper's four
    taps of a ResNet-50 that is 220 KB.

    Args:
        path: A folder that any number of runs and processes share: attack once, then try databases, K and weightings.
            By default ``activations`` in the folder of the run, for this run to go on with.
        images: Keep the attacked images as well, in float16, for defenses that look at them and for taps that are
            added later. All answers then come from the rounded images, the first time as well as later.
    """

    def __init__(self, *, path: str | Path | None = None, images: bool = False) -> None:
        self.path = None if path is None else Path(path)
        self.images = images

    def case(
        self, origin: Fingerprint, wanted: AbstractSet[str], folder: Path | None, *, attacked: bool = True
    ) -> CachedCase:
        """Return what is known of one case, to be filled.

        Args:
            origin: What its images and their columns depend on.
            wanted: Names of the columns that this run asks for.
            folder: Of the cache, where it has no path of its own; None keeps nothing.
            attacked: Whether its images are others than the queries: clean ones are not kept.

        Raises:
            UserError: If the folder cannot be written, or holds something else.
        """
        images = self.images and attacked
        if attacked:
            origin = origin | {"images": "rounded to float16" if images else "not kept"}
        root = self.path or folder
        if root is None:
            return CachedCase(None, origin, wanted, images=images)
        place = root / digest(origin, 32)
        claim(
            place,
            origin,
            other="of the activation cache is of another case",
            remedy="delete it",
            damage=f"delete {place} of the activation cache",
        )
        for part in (place, *place.glob("delta-*")):
            remove_abandoned(part)
        return CachedCase(place, origin, wanted, images=images)
