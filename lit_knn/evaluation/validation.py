"""What has to be true of the parts of an evaluation before it attacks anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import lit_knn.attacks
from lit_knn.backbones import Classifier
from lit_knn.database.joined_taps import parts_of
from lit_knn.errors import UserError, counted

if TYPE_CHECKING:
    from torch import Tensor

    from lit_knn.attacks import Attack
    from lit_knn.backbones import Tap
    from lit_knn.data import Batch, ImageData, ImageSource
    from lit_knn.data.preprocessing import Preprocessing
    from lit_knn.database import Database, Gallery
    from lit_knn.defenses import Defense, Requirements
    from lit_knn.threat_models import Threat
    from lit_knn.threat_models.budget import Budget
    from lit_knn.threat_models.surrogate_defense import SurrogateDefense


MOST = 1000  # evaluations of a query, which are counted in 16 bits


def require_database(database: Database | None) -> Database:
    """Return the database of a configuration.

    Raises:
        UserError: If there is none.
    """
    if database is None:
        raise UserError("the configuration has no model.database: there is nothing to extract, index or search")
    return database


def verify_parts(
    attacks: Sequence[Attack],
    sizes: Sequence[float],
    budget: Budget,
    defenses: Sequence[Defense],
    threats: Sequence[Threat],
    database: Database | None,
    topk: Sequence[int],
    evaluations: int = 1,
) -> None:
    """Refuse what cannot be run together, or told apart in the results.

    Raises:
        UserError: If there is no attack, threat, defense or size, a size that there is none of, an attack without steps
            for the norm, no k or one twice, a number of evaluations out of range, two parts of one name, an attacker
            who would have to know databases of several sizes, or a database that lacks what a defense asks of it.
    """
    if not topk or min(topk) < 1 or len(set(topk)) < len(topk):
        raise UserError(f"model.topk is {list(topk)}: a list of different numbers from 1 is accepted")
    if not 1 <= evaluations <= MOST:
        raise UserError(f"model.evaluations is {evaluations}; 1 to {MOST:,} are accepted")
    if not attacks or not sizes or not all(map(budget.unit.accepts, sizes)):
        raise UserError(
            f"an evaluation takes at least one attack, and deltas of {budget.unit.accepted}, not {list(sizes)}"
        )
    if unable := [attack.name for attack in attacks if budget.norm not in attack.norms]:
        known = (getattr(lit_knn.attacks, name) for name in lit_knn.attacks.__all__)
        able = [part.__name__ for part in known if budget.norm in getattr(part, "norms", ())]
        raise UserError(
            f"{', '.join(unable)} in model.attacks {'has' if len(unable) == 1 else 'have'} no steps for model.norm: "
            f"{budget.name}; {', '.join(able)} have"
        )
    if not defenses or not threats:
        raise UserError(f"model.{'threats' if defenses else 'defenses'} is []: give one at least, or leave the key out")
    for kind, names in (
        ("threats", [threat.name for threat in threats]),
        ("attacks", [attack.name for attack in attacks]),
        ("defense variants", [variant for defense in defenses for variant in defense.variants]),
    ):
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise UserError(f"two {kind} have the same name: {', '.join(map(str, twice))}; set `name:`")
    if database is not None and len(database.rows) > 1 and any(threat.adaptive for threat in threats):
        raise UserError(
            f"a white-box attacker knows a database of one size, but model.database.rows is {database.rows}: run each "
            "size by itself"
        )
    for defense in [*defenses, *(threat.defense for threat in threats if threat.defense)]:
        if database is not None:
            verify_database(defense, database)


def verify_database(defense: Defense, database: Database) -> None:
    """Refuse a database that lacks what is asked of it, before it is built.

    Raises:
        UserError: If neighbors are wanted at a tap that it does not have, or the classifier is to go on from the
            features of another network.
    """
    required, name = defense.requirements(), defense.variants[0].defense
    if lost := [tap for tap in required.neighbors if not {*parts_of(tap)} <= {*database.taps}]:
        raise UserError(
            f"{name} wants neighbors at {lost[0]!r}, but the database has no such tap; it has "
            f"{', '.join(database.taps)}"
        )
    for layer in required.layers:
        if layer in database.taps and layer != (tapped := database.taps[layer].layer):
            raise UserError(
                f"{name} goes on from a layer of the network, but {layer!r} is the name of a tap: set its "
                f"layer to {tapped}, that of the tap"
            )
    if required.layers and database.network is not None:
        raise UserError(
            f"{name} goes on from layer {required.layers[0]!r} of model.classifier, but the database has features "
            "of another network: it takes one without model.database.network"
        )


def verify_neighbors(needed: Mapping[str, int], views: Sequence[Gallery], whose: str = "a defense") -> None:
    """Refuse databases with fewer rows than neighbors are wanted.

    Raises:
        UserError: If the smallest one has.
    """
    rows = min((len(view) for view in views), default=0)
    for tap, k in needed.items():
        if k > rows:
            wanted, there = counted(k, "neighbor", "neighbors"), counted(rows, "row", "rows")
            raise UserError(f"{whose} wants {wanted} at {tap}, but the database has {there}")


def verify_topk(topk: Sequence[int], num_classes: int) -> None:
    """Refuse a k that every answer would be right for.

    Raises:
        UserError: If one is not below the number of classes.
    """
    if max(topk) >= num_classes:
        raise UserError(
            f"model.topk is {list(topk)}, but the classifier has {num_classes} classes: 1 to {num_classes - 1} are "
            "accepted"
        )


def verify_attackers(
    cases: Sequence[tuple[Threat, Attack]], surrogate_defenses: Mapping[str, SurrogateDefense | None]
) -> None:
    """Refuse attackers who could not ask what their attacks ask for.

    Args:
        cases: Threats and attacks.
        surrogate_defenses: By name of the threat, the attacker's copy of the defense, if they hold one.

    Raises:
        UserError: If their database has fewer rows than the copy or the objective looks for.
    """
    for threat, attack in cases:
        surrogate_defense = surrogate_defenses[threat.name]
        if surrogate_defense is not None and surrogate_defense.defense.needed:
            verify_neighbors(
                surrogate_defense.defense.needed, [surrogate_defense.gallery], f"the copy that {threat.name} holds"
            )
        attack.objective.verify(attack.name, surrogate_defense)


def verify_networks(
    classifier: Classifier,
    threats: Sequence[Threat],
    encoder: Classifier | None,
    taps: Sequence[Tap],
    image: Tensor,
    preprocessing: Preprocessing | None,
    required: Requirements,
) -> int:
    """Hold what is measured to the networks themselves, on the first batch of the run: the same in all processes.

    Args:
        classifier: The defended one.
        threats: May attack others.
        encoder: Gives the features that are searched; None for the defended one.
        taps: Where that is read.
        image: ``(N, 3, H, W)`` float32 in [0, 1].
        preprocessing: What brought the images to their size, if anything.
        required: By defenses: where the defended one is resumed, and which others are asked.

    Returns:
        C, the number of classes.

    Raises:
        UserError: If one does not give logits, or those of other classes, or its layers cannot be tapped.
    """
    classifier.examine(image, taps if encoder is None else [], preprocessing, layers=required.layers)
    if encoder is not None and taps:
        encoder.examine(image, taps, preprocessing)
    surrogates = dict.fromkeys(threat.attacked(classifier) for threat in threats)
    for network, role in (
        *((one, "is attacked") for one in surrogates),
        *((one, "answers") for one in required.networks),
    ):
        if network is not classifier:
            network.examine(image, preprocessing=preprocessing)
            for part in network.modules():
                if isinstance(part, Classifier) and part.num_classes != classifier.num_classes:
                    raise UserError(
                        f"network {part.name} has {part.num_classes} classes and {role} in place of "
                        f"{classifier.name}, which has {classifier.num_classes}: both must have the same, so set "
                        "`classes` of one to those of its own that the labels are"
                    )
    return cast(int, classifier.num_classes)


def verify_sources(data: ImageData) -> None:
    """Refuse queries that are in the database, or whose classes were counted through to other numbers than there.

    Nothing says which of the numbers are the network's: one folder of another name is enough to shift all behind it.

    Raises:
        UserError: If they are.
    """
    data.verify_disjoint()
    mine = data.queries.found_classes
    theirs = None if data.database is None else data.database.found_classes
    if mine is not None and theirs is not None and (clash := mine.clash(theirs)):
        raise UserError(f"data.queries: {clash}")


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
            shifted = f": where yours are 1 to {num_classes}, subtract 1" if batch["label"].max() == num_classes else ""
            raise UserError(
                f"query {key} has label {label}, but the network's classes are 0 to {num_classes - 1}{shifted}"
            )
