"""The folder of the adversarial cache: one part for each case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import final

from lit_knn.backbones import Tap
from lit_knn.errors import UserError
from lit_knn.evaluation.cache.case import CachedCase
from lit_knn.storage.atomic import atomic_write, remove_abandoned, undamaged
from lit_knn.storage.fingerprint import Fingerprint, digest, fingerprint_difference, from_text, to_text


@final  # and so YAML names its arguments without a class path
class AdversarialCache:
    """A folder that any number of runs and processes share: attack once, then try databases, K and weightings.

    Args:
        path: The folder, created if it does not exist.
        images: Keep the attacked images as well, in float16, for defenses that look at them and for taps that are
            added later. All answers then come from the rounded images, the first time as well as later.
    """

    def __init__(self, *, path: str | Path, images: bool = False) -> None:
        self.path = Path(path)
        self.images = images

    def case(self, origin: Fingerprint, taps: Mapping[str, Tap]) -> CachedCase:
        """Return what is known of one case, to be filled.

        Args:
            origin: What x* and its activations depend on.
            taps: The activations that defenses want, by name.

        Raises:
            UserError: If the folder cannot be written, or holds something else.
        """
        origin = origin | {"images": "rounded to float16" if self.images else "not kept"}
        path = self.path / digest(origin, 32) / "origin.json"
        if not path.exists():
            with atomic_write(path) as unfinished:
                unfinished.write_text(to_text(origin))
        with undamaged(path, f"delete {path.parent} of the adversarial cache"):
            found = from_text(path.read_bytes())
        if difference := fingerprint_difference(origin, found):
            raise UserError(f"{path.parent} of the adversarial cache is of another case: {difference}; delete it")
        for folder in (path.parent, *path.parent.glob("delta-*")):
            remove_abandoned(folder)
        return CachedCase(path.parent, origin, taps, images=self.images)
