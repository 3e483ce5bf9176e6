"""The batches of one case, and what to do where some are missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from torch import Tensor

from lit_knn.attacks import Attempt
from lit_knn.evaluation.cache.batch import PERTURBATION, TOLD, BatchFile, BatchKey, Columns, halve, move
from lit_knn.storage.fingerprint import Fingerprint

log = logging.getLogger(__name__)


class CachedCase:
    """The batches of one case, at any Δ.

    Args:
        folder: Of this case alone; None keeps nothing.
        origin: What its files depend on.
        wanted: Names of the columns that are asked for.
        images: Whether attacked images are kept.
    """

    def __init__(
        self, folder: Path | None, origin: Fingerprint, wanted: AbstractSet[str], *, images: bool = False
    ) -> None:
        self.folder, self._origin, self._images = folder, origin, images
        self._wanted = frozenset(wanted)

    def file(self, batch: BatchKey, delta: float, shape: Sequence[int] | None = None) -> BatchFile:
        """Return the file of a batch at one Δ, which need not exist.

        Args:
            batch: Which.
            delta: Δ in [0, 1].
            shape: That of its images ``(N, 3, H, W)``, where their perturbation may be read.
        """
        path = None if self.folder is None else self.folder / f"delta-{delta!r}" / f"{batch.name}.h5"
        return BatchFile(path, self._origin | {"delta": repr(delta)}, batch.ids, shape)

    def observe(
        self,
        batch: BatchKey,
        image: Tensor,
        deltas: Sequence[float],
        *,
        attack: Callable[[Sequence[float]], Iterator[Attempt]],
        columns: Callable[[Tensor, Columns], Columns],
    ) -> Iterator[Columns]:
        """Yield the wanted columns of a batch at each Δ, attacking only where one of them is missing.

        What has been observed at one Δ is kept before the next one is attacked.

        Args:
            batch: Which.
            image: ``(N, 3, H, W)`` float in [0, 1], clean.
            deltas: Each Δ in [0, 1], all different.
            attack: Attacks the batch, lazily.
            columns: Shows attacked images ``(N, 3, H, W)`` to the defended classifier;
                passes on what the attack tells of them.

        Raises:
            UserError: If a file is damaged, or of something else.
        """
        files = [self.file(batch, delta, image.shape) for delta in deltas]
        missing = [
            delta
            for delta, file in zip(deltas, files, strict=True)
            if not (self._wanted <= file.names or {PERTURBATION, *TOLD} <= file.names)
        ]
        lacking = {name for file in files if file.names for name in self._wanted - file.names}
        if missing and lacking:
            log.info("%s keeps no images and lacks %s: attacking again", self.folder, "; ".join(sorted(lacking)))
        fresh = attack(missing) if missing else iter(())
        for delta, file in zip(deltas, files, strict=True):
            if self._wanted <= file.names:
                yield file.read(self._wanted)
                continue
            if delta in missing:
                attempt = next(fresh)
                attacked, told = attempt.image, {name: getattr(attempt, name) for name in TOLD}
                kept = {PERTURBATION: halve(attacked - image)} if self._images else {}
            else:
                told = file.read({PERTURBATION, *TOLD})
                kept = {PERTURBATION: told.pop(PERTURBATION)}
            found = columns(move(image, kept[PERTURBATION]) if kept else attacked, told)
            file.write(found | kept)
            yield found
