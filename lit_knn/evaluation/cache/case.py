"""The attacked batches of one case, and what to do where some are missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lit_knn.attacks import Attempt
from lit_knn.backbones import Tap
from lit_knn.defenses import Query, Seen
from lit_knn.evaluation.cache.batch import PERTURBATION, BatchFile, Columns, batch_name, halve, move
from lit_knn.storage.fingerprint import Fingerprint

log = logging.getLogger(__name__)


class Attacked(NamedTuple):
    """N attacked images as a defense meets them, and how far they are from the clean ones.

    Attributes:
        query: What a defense may ask.
        realized: ``(N,)`` float, Δ in pixels.
        realized_normalized: ``(N,)`` float, Δ in the classifier's normalized space.
        flat: ``(N,)`` bool: was the gradient zero wherever the attack looked?
    """

    query: Query
    realized: Tensor
    realized_normalized: Tensor
    flat: Tensor


class CachedCase:
    """The batches of one case, at any Δ.

    Args:
        folder: Of this case alone.
        origin: What its files depend on.
        taps: The activations that defenses want, by name.
        images: Whether the attacked images are kept.
    """

    def __init__(self, folder: Path, origin: Fingerprint, taps: Mapping[str, Tap], *, images: bool) -> None:
        self.folder, self._origin, self._images = folder, origin, images
        self._taps = {name: tap.activation for name, tap in taps.items()}
        self._wanted = {"logits", "realized", "realized_normalized", "flat", *self._taps.values()}
        self._wanted |= {PERTURBATION} if images else set()

    def sweep(
        self,
        batch: str,
        image: Tensor,
        ids: Tensor,
        deltas: Sequence[float],
        *,
        attack: Callable[[Sequence[float]], Iterator[Attempt]],
        look: Callable[[Tensor, Tensor], Attacked],
        query: Callable[[Tensor | None, Seen], Query],
    ) -> Iterator[Attacked]:
        """Yield what comes of a batch at each Δ, attacking only where that is not known yet.

        Args:
            batch: A hash of it, see :func:`lit_knn.evaluation.cache.batch.batch_digest`.
            image: ``(N, 3, H, W)`` float in [0, 1], clean.
            ids: ``(N,)`` int64.
            deltas: Each Δ in (0, 1], all different.
            attack: Attacks the batch, lazily.
            look: Shows attacked images to the defended classifier, and passes `flat` on.
            query: Makes a query of attacked images, None if they are not kept, and what has been seen of them.

        Raises:
            UserError: If a file is damaged, or of something else.
        """
        files = [
            BatchFile(
                self.folder / f"delta-{delta!r}" / batch_name(batch, ids),
                self._origin | {"delta": repr(delta)},
                image,
                ids,
            )
            for delta in deltas
        ]
        missing = [
            delta
            for delta, file in zip(deltas, files, strict=True)
            if not (self._wanted <= file.names or PERTURBATION in file.names)
        ]
        lacking = {tap for file in files if file.names for tap in self._wanted - file.names}
        if missing and lacking:
            log.info("%s keeps no images and lacks %s: attacking again", self.folder, "; ".join(sorted(lacking)))
        fresh = attack(missing) if missing else iter(())
        if self._images:
            fresh = (attempt._replace(image=halve(attempt.image - image)) for attempt in fresh)
        for delta, file in zip(deltas, files, strict=True):
            if self._wanted <= file.names:
                columns = file.read(self._wanted)
            else:
                there = {} if delta in missing else file.read({PERTURBATION, "flat"})
                kept, flat = (there[PERTURBATION], there["flat"]) if there else next(fresh)
                columns = self._columns(look(move(image, kept) if self._images else kept, flat))
                columns |= {PERTURBATION: kept} if self._images else {}
                file.write(columns)
            seen = Seen(columns["logits"], {name: columns[column] for name, column in self._taps.items()})
            shown = move(image, columns[PERTURBATION]) if self._images else None
            yield Attacked(query(shown, seen), columns["realized"], columns["realized_normalized"], columns["flat"])

    def _columns(self, attacked: Attacked) -> Columns:
        query, realized, realized_normalized, flat = attacked
        columns = {"logits": query.seen.logits, "realized": realized, "realized_normalized": realized_normalized}
        columns |= {self._taps[name]: activation for name, activation in query.seen.activations.items()}
        columns = {name: value.to(torch.promote_types(value.dtype, torch.float32)) for name, value in columns.items()}
        return columns | {"flat": flat}
