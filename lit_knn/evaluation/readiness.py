"""What defenses need, opened for a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from lit_knn.backbones.tapping import require_layers
from lit_knn.database import Resource, StoredGallery
from lit_knn.defenses import Requirements, most_needed
from lit_knn.errors import UserError
from lit_knn.evaluation import validation

if TYPE_CHECKING:
    import torch

    from lit_knn.backbones import Classifier
    from lit_knn.data import ImageData
    from lit_knn.database import Database
    from lit_knn.defenses import Defense
    from lit_knn.evaluation.module import Evaluation
    from lit_knn.threat_models import Threat

TRIED = 100_000  # rows that are asked for a label


def joint_requirements(defenses: Sequence[Defense], threats: Sequence[Threat]) -> Requirements:
    """Return what several defenses need together, and besides neighbors what attackers' copies of them do.

    Raises:
        UserError: If two resources share a folder and differ.
    """
    asked = [*defenses, *(threat.defense for threat in threats if threat.defense)]
    each = [defense.requirements() for defense in asked]
    resources = [resource for required in each for resource in required.resources]
    known: dict[str, Resource] = {}
    for resource in resources:
        first = known.setdefault(resource.name, resource)
        if (type(first), first.settings()) != (type(resource), resource.settings()):
            raise UserError(f"two resources called {resource.name} differ: give each a name of its own")
    return Requirements(
        neighbors=most_needed(defenses),
        image=any(required.image for required in each),
        labels=any(required.labels for required in each),
        layers=tuple(dict.fromkeys(layer for required in each for layer in required.layers)),
        networks=tuple(dict.fromkeys(network for required in each for network in required.networks)),
        joined=tuple(dict.fromkeys(tap for required in each for tap in required.joined)),
        resources=resources,
    )


def tapped_database(database: Database | None, classifier: Classifier) -> Database:
    """Return the database of a configuration, once the network is known to have the layers that its taps name.

    Before anything is made, or compared with what is there: a layer that does not exist is no other origin.

    Raises:
        UserError: If there is no database, or no such layer.
    """
    database = validation.require_database(database)
    require_layers((database.network or classifier).network, list(database.taps.values()))
    return database


def open_database(
    database: Database | None, required: Requirements, classifier: Classifier, data: ImageData
) -> list[StoredGallery]:
    """Open a database in each of its sizes, and resources; nothing where nothing of it is needed.

    Raises:
        UserError: If there is no database, a part is missing, damaged or of another origin, it has too few rows, or no
            labels where a defense goes by them.
    """
    if not required.database:
        return []
    database = tapped_database(database, classifier)
    views = database.open(classifier, data, required.joined)
    validation.verify_neighbors(required.neighbors, views)
    if required.labels and not has_labels(views[0]):
        raise UserError(
            f"a defense goes by the labels of rows, but {database.store_path} keeps none: data.database has no labels, "
            "or they are not the network's classes"
        )
    for resource in required.resources:
        resource.open(database.resource_path(resource.name), views[-1])
    return views


def examine_queries(evaluation: Evaluation, data: ImageData, device: torch.device) -> str:
    """Hold labels to the network's classes by the first batch of queries, before anything is built for a test.

    A mistake that is mended later, such as ``classes:``, would leave a database of another origin.

    Args:
        evaluation: Says whose classes they are, and whether a defense goes by labels of the database.
        data: Its images.
        device: Where the network is asked.

    Returns:
        What to know of the database's labels, in a sentence; "" if they are the network's classes.

    Raises:
        UserError: If labels of the queries cannot be classes of the network, or none of the database that are needed.
    """
    data.black_queries = not evaluation.budget.relative
    batch, classifier = data.first_images(device), evaluation.classifier.to(device)
    classifier.examine(batch["image"], preprocessing=data.preprocessing)
    num_classes = cast(int, classifier.num_classes)
    validation.verify_labels(batch, data.queries, num_classes)
    problem = "" if data.database is None else data.database.label_problem(num_classes)
    if problem and evaluation.requirements.labels:
        raise UserError(f"a defense goes by the labels of rows, but data.database: {problem}")
    return problem


def has_labels(gallery: StoredGallery) -> bool:
    """Return whether any of up to 100,000 rows, evenly spread, has one."""
    rows = gallery.ids
    return bool((gallery.labels(rows[:: max(1, len(rows) // TRIED)]) >= 0).any())
