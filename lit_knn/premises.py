"""What has to be true of the parts of an evaluation before it attacks anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lit_knn.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from lit_knn.attacks import Attack
    from lit_knn.backbones import Classifier, Tap
    from lit_knn.cache import AdversarialCache
    from lit_knn.data import Batch, ImageSource
    from lit_knn.data.preprocessing import Preprocessing
    from lit_knn.database import Database, StoredGallery
    from lit_knn.defenses import Defense
    from lit_knn.threat import Threat


def verify_parts(
    *,
    attacks: Sequence[Attack],
    deltas: Sequence[float],
    defenses: Sequence[Defense],
    threats: Sequence[Threat],
    database: Database | None,
    cache: AdversarialCache | None,
) -> None:
    """Refuse what cannot be run together, or told apart in the results.

    Raises:
        UserError: If there is no attack or Δ, a Δ beyond (0, 1], two parts of one name, a defense that looks at images
            which the cache does not keep, or an attacker who would have to know databases of several sizes.
    """
    if not attacks or not deltas or not 0 < min(deltas) <= max(deltas) <= 1:
        raise UserError(f"an evaluation takes at least one attack, and deltas of (0, 1], not {list(deltas)}")
    for kind, names in (
        ("threats", [threat.name for threat in threats]),
        ("attacks", [attack.name for attack in attacks]),
        ("defense variants", [variant for defense in defenses for variant in defense.variants]),
    ):
        if len(set(names)) < len(names):
            raise UserError(f"two {kind} have the same name: {', '.join(map(str, names))}; set `name:`")
    if cache is not None and not cache.images and (looking := [d for d in defenses if d.uses_image]):
        raise UserError(
            f"{type(looking[0]).__name__} looks at attacked images, which are not cached: set model.cache.images: true"
        )
    if database is not None and len(database.rows) > 1 and any(threat.aware for threat in threats):
        raise UserError(
            f"a white-box attacker knows a database of one size, but model.database.rows is {database.rows}: run each "
            "size by itself"
        )


def verify_neighbors(needed: Mapping[str, int], views: Sequence[StoredGallery]) -> None:
    """Refuse databases with fewer rows than neighbours are wanted.

    Raises:
        UserError: If the smallest one has.
    """
    rows = min((len(view) for view in views), default=0)
    for tap, k in needed.items():
        if k > rows:
            raise UserError(f"a defense wants {k} neighbours at {tap}, but the database has {rows} rows")


def verify_networks(
    classifier: Classifier,
    threats: Sequence[Threat],
    taps: Sequence[Tap],
    image: Tensor,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Hold what is measured to the networks themselves, on the first batch of the run: the same in all processes.

    Args:
        classifier: The defended one.
        threats: May attack others.
        taps: Where the defended one is read.
        image: ``(N, 3, H, W)`` float32 in [0, 1].
        preprocessing: What brought the images to their size, if anything.

    Raises:
        UserError: If one does not give logits, or its layers cannot be tapped.
    """
    classifier.examine(image, taps, preprocessing)
    for network in dict.fromkeys(threat.attacked(classifier) for threat in threats):
        if network is not classifier:
            network.examine(image, preprocessing=preprocessing)


def verify_labels(batch: Batch, source: ImageSource, num_classes: int | None) -> None:
    """Refuse queries whose labels are not classes of the network, before they are attacked.

    Args:
        batch: Some of the queries.
        source: Of all of them.
        num_classes: C; None while it is not known.

    Raises:
        UserError: If the labels of the source cannot be, or one of the batch is not.
    """
    if num_classes is None:
        return
    if problem := source.label_problem(num_classes):
        raise UserError(f"data.queries: {problem}")
    for key, label in zip(batch["key"], batch["label"].tolist(), strict=True):
        if label >= num_classes:
            raise UserError(f"query {key} has label {label}, but the network's classes are 0 to {num_classes - 1}")
