"""What clean and attacked images, and what becomes of them, depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from lit_knn.attacks import Attack
from lit_knn.backbones import Classifier, Ensemble
from lit_knn.data import ImageData
from lit_knn.defenses import Defense
from lit_knn.randomness import run_seed
from lit_knn.storage.description import describe
from lit_knn.storage.fingerprint import Fingerprint, digest
from lit_knn.storage.origin import claim
from lit_knn.threat_models import Threat
from lit_knn.threat_models.surrogate_defense import SurrogateDefense

if TYPE_CHECKING:
    from lit_knn.evaluation.module import Evaluation

NetworkHashes = Mapping[nn.Module, str]
CLEAN = ("", "clean")  # the case of images that nobody attacks


def case_origins(
    cases: Sequence[tuple[Threat, Attack]],
    surrogate_defenses: Mapping[str, SurrogateDefense | None],
    classifier: Classifier,
    data: ImageData,
    hashes: NetworkHashes,
    *,
    precision: str,
    norm: str,
    defenses: Sequence[Defense],
) -> dict[tuple[str, str], Fingerprint]:
    """Return what the images of each case, and what is observed of them, depend on besides Δ and batch.

    Versions of PyTorch, devices and numbers of threads are left out: they change last bits, not what is measured. The
    version of this package is in, since another one may mean something else by the same attack, and so is the source of
    an attack of your own, but not that of what it calls.

    Args:
        cases: Threats say which network is attacked, attacks what is run; what tables call it does not matter.
        surrogate_defenses: By name of the threat, the attacker's copy of the defense, if they hold one: then x* depends
            on their view of the database.
        classifier: The defended classifier.
        data: Says what the queries are.
        hashes: Of all these networks.
        precision: Of the Trainer.
        norm: What the sizes of perturbations are in.
        defenses: Those of the run, to which images may be a transfer: then no attack stops early.

    Returns:
        By names of threat and attack; that of the clean images, which nobody attacks, under `CLEAN`.
    """
    shared = _shared(hashes[classifier], data, precision)
    copies = {
        name: {} if surrogate_defense is None else _copy(surrogate_defense, hashes)
        for name, surrogate_defense in surrogate_defenses.items()
    }
    attacked = {
        (threat.name, attack.name): {
            **shared,
            "attack": {name: value for name, value in describe(attack).items() if name != "name"},
            "attacked": hashes[threat.attacked(classifier)],
            "norm": norm,
            **({} if attack.enough is None else _end(threat, surrogate_defenses[threat.name], defenses)),
            **copies[threat.name],
        }
        for threat, attack in cases
    }
    return {CLEAN: shared, **attacked}


def run_origin(evaluation: Evaluation, hashes: NetworkHashes) -> Fingerprint:
    """Return what the results of a run depend on: the same, by names, and defenses, databases, and which queries.

    Batches, too, since the rounding of a batch depends on its size.

    Args:
        evaluation: Whose.
        hashes: Of its networks.
    """
    classifier, data, views = evaluation.classifier, evaluation.data, evaluation.views
    return {
        **_shared(hashes[classifier], data, str(evaluation.trainer.precision)),
        **{f"attacked by {threat.name}": hashes[threat.attacked(classifier)] for threat in evaluation.threats},
        **{
            f"{part} of {name}": value
            for name, copy in evaluation.surrogate_defenses.items()
            if copy is not None
            for part, value in _copy(copy, hashes).items()
        },
        **{f"attack {attack.name}": describe(attack) for attack in evaluation.attacks},
        **{
            name + f" of size {number}" * (len(views) > 1): value
            for number, view in enumerate(views, 1)
            for name, value in view.identity().items()
        },
        "defenses": describe(evaluation.defenses),
        **(
            {"seed": run_seed(), "evaluations": evaluation.evaluations}
            if any(defense.random for defense in evaluation.defenses)
            else {}
        ),
        "lines": [str(variant) for variant in evaluation.variants],
        "cases": [[threat.name, attack.name] for threat, attack in evaluation.cases],
        "deltas": evaluation.deltas,
        "norm": evaluation.norm,
        **({"suite": "a cascade"} if evaluation.cascade else {}),
        "topk": evaluation.topk,
        "queries": data.query_identity(),
        "batches": f"of {data.batch_size} queries",
        "images": "rounded to float16" if evaluation.cache.images else "not rounded",
    }


def claim_run(folder: Path, origin: Fingerprint) -> str:
    """Say what a run's folder is of, and return a hash of that, 16 digits.

    Raises:
        UserError: If the folder is another run's.
    """
    claim(
        folder,
        origin,
        other="holds the results of another run",
        remedy="choose another trainer.run",
        damage="delete it and run the same test again",
    )
    return digest(origin)


def _shared(classifier: str, data: ImageData, precision: str) -> Fingerprint:
    return {
        "lit_knn": metadata.version("lit_knn"),
        "classifier": classifier,
        "queries": data.queries.identity(),
        "preprocessing": data.preprocessing.identity() if data.preprocessing else "none",
        "precision": precision,
    }


def _copy(surrogate_defense: SurrogateDefense, hashes: NetworkHashes) -> Fingerprint:
    """Return what an attacker's copy of the defense is, and their view of the database if it has one."""
    parts = {"copy": describe(surrogate_defense.defense), "copy's network": hashes[surrogate_defense.classifier]}
    if surrogate_defense.defense.needed:
        parts |= {f"copy's {name}": value for name, value in surrogate_defense.gallery.identity().items()}
    return parts


def _end(threat: Threat, copy: SurrogateDefense | None, defenses: Sequence[Defense]) -> Fingerprint:
    """Return where attacks stop that an image may have enough of."""
    if threat.transfers(defenses):
        return {"stops": "never"}
    return {"stops": describe([] if copy is None else copy.beside)}


def network_hashes(
    classifier: Classifier, threats: Iterable[Threat], surrogate_defenses: Mapping[str, SurrogateDefense | None]
) -> NetworkHashes:
    """Hash each network once, by however many threats it is attacked or copied.

    Args:
        classifier: The defended classifier.
        threats: Say which networks are attacked.
        surrogate_defenses: The attackers' copies of the defense, by name of the threat.
    """
    copied = (copy.classifier for copy in surrogate_defenses.values() if copy is not None)
    networks = {classifier, *(threat.attacked(classifier) for threat in threats), *copied}
    return {network: _hash(network) for network in networks}


def _hash(network: nn.Module) -> Any:
    return network.fingerprint() if isinstance(network, Classifier | Ensemble) else describe(network)
