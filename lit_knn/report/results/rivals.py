"""The other defenses of the paper's Table 2: which line of a run is one of them, and which numbers are only quoted."""

from __future__ import annotations

from math import isclose
from typing import Any, NamedTuple

from lit_knn.report.results.record import Record, mapping

PATCHES = {"count": 1_000_000, "size": 5}
RETRAINED = "its network was trained on such images"


class Rival(NamedTuple):
    """A defense of Table 2, under an attack that does not know it.

    Attributes:
        name: As the paper has it.
        accuracies: By setting, as far as they are printed.
        note: What else is not the same, or why nothing may stand beside them.
        described: What a fingerprint says of such a defense, as far as it matters; None for one that is only quoted.
    """

    name: str
    accuracies: dict[str, float]
    note: str = ""
    described: dict[str, Any] | None = None


def _transformed(kind: str, draws: int, **arguments: object) -> dict[str, Any]:
    return {
        "class": "TransformedClassifier",
        "draws": draws,
        "combine": "mean",
        "transformation": {"class": kind, **arguments},
    }


MEASURED = (
    Rival(
        "Crop ensemble",
        {"clean": 0.652, "gray box": 0.456, "black box": 0.512},
        described=_transformed("RandomCrop", 30, size=90 / 224),
    ),
    Rival(
        "TV Minimization",
        {"clean": 0.635, "gray box": 0.338, "black box": 0.597},
        RETRAINED,
        _transformed("TotalVariation", 1, weight=0.03, keep=0.5, per_channel=True, isotropic=True),
    ),
    Rival(
        "Image quilting",
        {"clean": 0.414, "gray box": 0.379, "black box": 0.618},
        RETRAINED,
        _transformed(
            "Quilting", 1, k=10, overlap=2, patches={"identity": {"settings": {"count": 1_000_000, "size": 5}}}
        ),
    ),
)
QUOTED = (
    Rival("Ensemble training", {"black box": 0.051}, "of a network that the paper does not name"),
    Rival(
        "ALP",
        {"clean": 0.557, "gray box": 0.279, "black box": 0.348},
        "equal to numbers published for 64×64 pixels and targeted L∞ attacks",
    ),
    Rival("RA-CNN", {"clean": 0.609, "gray box": 0.259}, "of a ResNet-18"),
)


def rivals(record: Record) -> dict[str, Rival]:
    """Return which of Table 2's defenses a run has, by the name of the line; those that are only quoted are none.

    Goes by what the run's fingerprint says of its defenses, so that a name alone makes no rival.
    """
    defenses = record.fingerprints.get("defenses")
    return {
        str(mapping(defense).get("name")): rival
        for defense in (defenses if isinstance(defenses, list) else [])
        for rival in MEASURED
        if _has(defense, rival.described)
    }


def _has(found: object, wanted: object) -> bool:
    """Return whether a description has all that is wanted, however deep."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and _has(found[key], part) for key, part in wanted.items())
    if isinstance(wanted, float):
        return isinstance(found, float | int) and isclose(found, wanted, rel_tol=1e-3)
    return found == wanted
