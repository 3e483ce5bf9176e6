"""What the defended classifier makes of attacked images, kept over runs: no batch is attacked twice at the same Δ.

x* depends on attack, attacked network and queries, not on the defense's database, so another database, K or weighting
costs a search and no attack. Kept are logits and pooled activations *before* PCA: projected features would belong to
one database only, as each has a PCA of its own.

folder/<hash>/origin.json                        one case (threat and attack): what x* and its activations depend on
folder/<hash>/delta-0.05/<first id>-<hash>.h5    one batch at one Δ, sealed (see :mod:`lit_knn.cached_batch`)

:mod:`lit_knn.outcomes` is downstream of it: what one run has counted, in the run's own folder and of no use to others.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from lit_knn.attacks import Attack
from lit_knn.backbones import Classifier, Tap
from lit_knn.cached_batch import PERTURBATION, BatchFile, Columns, halve, move
from lit_knn.data import ImageData
from lit_knn.defenses import Query, Seen
from lit_knn.errors import UserError
from lit_knn.fingerprint import Fingerprint, describe, fingerprint_difference
from lit_knn.replica import Replica
from lit_knn.sealing import sealed
from lit_knn.threat import Threat

log = logging.getLogger(__name__)


class Attacked(NamedTuple):
    """N attacked images as a defense meets them, and how far they are from the clean ones.

    Attributes:
        query: What a defense may ask.
        realised: ``(N,)`` float, Δ in pixels.
        realised_normalized: ``(N,)`` float, Δ in the classifier's normalised space.
    """

    query: Query
    realised: Tensor
    realised_normalized: Tensor


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
        digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:32]
        path = self.path / digest / "origin.json"
        try:
            if not path.exists():
                with sealed(path) as unfinished:
                    unfinished.write_text(json.dumps(origin, indent=1, sort_keys=True) + "\n")
            found = json.loads(path.read_text())
        except OSError as error:
            raise UserError(f"model.cache.path {self.path} cannot be written ({error}); choose another") from error
        except ValueError as error:
            raise UserError(f"{path} of the adversarial cache is damaged ({error}); delete {path.parent}") from error
        if difference := fingerprint_difference(origin, found):
            raise UserError(f"{path.parent} of the adversarial cache is of another case: {difference}; delete it")
        return CachedCase(path.parent, origin, taps, images=self.images)


def origins(
    cases: Sequence[tuple[Threat, Attack]],
    replicas: Mapping[str, Replica | None],
    classifier: Classifier,
    hashes: Mapping[nn.Module, str],
    data: ImageData,
    *,
    precision: str,
) -> dict[tuple[str, str], Fingerprint]:
    """Return what the attacked images of each case, and their activations, depend on besides Δ and batch.

    Versions of PyTorch, devices and numbers of threads are left out: they change last bits, not what is measured. The
    version of this package is in, since another one may mean something else by the same attack; an attack of your own
    that has changed under the same name and settings needs another folder.

    Args:
        cases: Threats say which network is attacked, attacks what is run; what tables call it does not matter.
        replicas: By name of the threat, the attacker's copy of the defense, if they hold one: then x* depends on their
            view of the database.
        classifier: The defended classifier.
        hashes: Of it and of each attacked network.
        data: Says what the queries are.
        precision: Of the Trainer.
    """
    shared = {
        "lit_knn": metadata.version("lit_knn"),
        "classifier": hashes[classifier],
        "queries": data.queries.identity(),
        "preprocessing": data.preprocessing.identity() if data.preprocessing else "none",
        "precision": precision,
    }
    copies = {name: {} if replica is None else _copy(replica) for name, replica in replicas.items()}
    return {
        (threat.name, attack.name): {
            **shared,
            "attack": _json({name: value for name, value in describe(attack).items() if name != "name"}),
            "attacked": hashes[threat.attacked(classifier)],
            **copies[threat.name],
        }
        for threat, attack in cases
    }


def _copy(replica: Replica) -> Fingerprint:
    """Return what an attacker's copy of the defense is, and their view of the database if it has one."""
    parts = {"copy": _json(describe(replica.defense))}
    if replica.defense.needed:
        parts |= {f"copy's {name}": value for name, value in replica.gallery.identity().items()}
    return parts


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


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
        self._taps = {name: f"{tap.layer}, pool {tap.side}" for name, tap in taps.items()}
        self._wanted = {"logits", "realised", "realised_normalized", *self._taps.values()}
        self._wanted |= {PERTURBATION} if images else set()

    def sweep(
        self,
        batch: str,
        image: Tensor,
        id: Tensor,
        deltas: Sequence[float],
        *,
        attack: Callable[[Sequence[float]], Iterator[Tensor]],
        look: Callable[[Tensor], Attacked],
        query: Callable[[Tensor | None, Seen], Query],
    ) -> Iterator[Attacked]:
        """Yield what comes of a batch at each Δ, attacking only where that is not known yet.

        Args:
            batch: Its name, see :func:`lit_knn.cached_batch.batch_name`.
            image: ``(N, 3, H, W)`` float in [0, 1], clean.
            id: ``(N,)`` int64.
            deltas: Each Δ in (0, 1], all different.
            attack: Attacks the batch, lazily.
            look: Shows attacked images to the defended classifier.
            query: Makes a query of attacked images, None if they are not kept, and what has been seen of them.

        Raises:
            UserError: If a file is damaged, or of something else.
        """
        files = [
            BatchFile(self.folder / f"delta-{delta!r}" / batch, self._origin | {"delta": repr(delta)}, image, id)
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
            fresh = (halve(adversarial - image) for adversarial in fresh)
        for delta, file in zip(deltas, files, strict=True):
            if self._wanted <= file.names:
                columns = file.read(self._wanted)
            else:
                kept = next(fresh) if delta in missing else file.read({PERTURBATION})[PERTURBATION]
                columns = self._columns(look(move(image, kept) if self._images else kept))
                columns |= {PERTURBATION: kept} if self._images else {}
                file.write(columns)
            seen = Seen(columns["logits"], {name: columns[column] for name, column in self._taps.items()})
            shown = move(image, columns[PERTURBATION]) if self._images else None
            yield Attacked(query(shown, seen), columns["realised"], columns["realised_normalized"])

    def _columns(self, attacked: Attacked) -> Columns:
        query, realised, realised_normalized = attacked
        columns = {"logits": query.seen.logits, "realised": realised, "realised_normalized": realised_normalized}
        columns |= {self._taps[name]: activation for name, activation in query.seen.activations.items()}
        return {name: value.to(torch.promote_types(value.dtype, torch.float32)) for name, value in columns.items()}
