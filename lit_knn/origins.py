"""What attacked images depend on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata

from torch import nn

from lit_knn.attacks import Attack
from lit_knn.backbones import Classifier
from lit_knn.data import ImageData
from lit_knn.fingerprint import Fingerprint, describe
from lit_knn.replica import Replica
from lit_knn.threat import Threat


def case_origins(
    cases: Sequence[tuple[Threat, Attack]],
    replicas: Mapping[str, Replica | None],
    classifier: Classifier,
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
        data: Says what the queries are.
        precision: Of the Trainer.
    """
    hashes = network_hashes(classifier, [threat for threat, _ in cases])
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


def outcome_origin(cases: Sequence[tuple[Threat, Attack]], classifier: Classifier, data: ImageData) -> Fingerprint:
    """Return what becomes of queries depends on, by networks, attacks and images."""
    threats = {threat.name: threat for threat, _ in cases}
    hashes = network_hashes(classifier, threats.values())
    return {
        "classifier": hashes[classifier],
        **{f"attacked by {name}": hashes[threat.attacked(classifier)] for name, threat in threats.items()},
        **{f"attack {attack.name}": _json(describe(attack)) for _, attack in cases},
        "queries": data.query_identity(),
    }


def _copy(replica: Replica) -> Fingerprint:
    """Return what an attacker's copy of the defense is, and their view of the database if it has one."""
    parts = {"copy": _json(describe(replica.defense))}
    if replica.defense.needed:
        parts |= {f"copy's {name}": value for name, value in replica.gallery.identity().items()}
    return parts


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def network_hashes(classifier: Classifier, threats: Iterable[Threat]) -> dict[nn.Module, str]:
    """Hash each network once, by however many threats it is attacked."""
    networks = {classifier, *(threat.attacked(classifier) for threat in threats)}
    return {network: network.fingerprint() for network in networks}
