"""The paper's own numbers, where a run measures the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lit_knn.report.results.budgets import DEFAULT
from lit_knn.report.results.record import Record, Row, mapping, variant
from lit_knn.report.results.rivals import rivals
from lit_knn.report.results.variant import UNDEFENDED, Variant
from lit_knn.storage.kinds import named_kind

DELTA = 0.06
IN, YFCC = "IN-1.3M", "YFCC-100M"  # the paper's other databases are not public
SETTINGS = ("clean", "gray box", "black box")
ROWS = {IN: (1_250_000, 1_281_167), YFCC: (90_000_000, 100_000_000)}  # some images cannot be read any more
LAST = {"conv_5_1", "layer4.0.add"}  # two names of the paper's tap
PUBLISHED: dict[tuple[str, str, str], tuple[str, tuple[float, float, float]]] = {
    # (database, weighting, combination) → where it is printed, and accuracies in the order of SETTINGS; K = 50
    (IN, "UW", "soft"): ("Table 1", (0.472, 0.285, 0.311)),
    (IN, "CBW-E", "soft"): ("Table 1", (0.469, 0.286, 0.312)),
    (IN, "CBW-D", "soft"): ("Table 1; Table 2 has .462, .235, .292", (0.471, 0.286, 0.312)),
    (YFCC, "CBW-D", "soft"): ("Table 2", (0.613, 0.309, 0.395)),
    ("", "", ""): ("Table 2", (0.761, 0.038, 0.046)),  # no defense
}


class Beside(NamedTuple):
    """A published accuracy beside a measured one; the note says what else is not the same."""

    table: str
    database: str
    variant: Variant
    setting: str
    published: float
    measured: Row
    note: str = ""


def beside(record: Record) -> list[Beside]:
    """Return what a run has measured in the paper's setting, and what the paper says; nothing where in doubt.

    The setting: torchvision's ResNet-50 of 2015 (IMAGENET1K_V1), its ResNet-18 as the only surrogate, ImageNet's
    validation images, PGD with 10 sign steps on the cross-entropy at Δ = 0.06, top-1; for a kNN defense all of the
    database, conv_5_1 with 256 dimensions and K = 50. Other defenses of Table 2 as `rivals` knows them.

    References:
        Dubey et al. 2019, Tables 1 and 2.

    Differences from the paper:
        Δ is a hard cap for each image in pixel space; the code that the paper used measures it in normalized space,
        and on average.
    """
    model, data = mapping(record.config.get("model")), mapping(record.config.get("data"))
    if (
        record.norm != DEFAULT
        or not _is(model.get("classifier"), "resnet50")
        or not _built(data.get("queries"), "ImageNet", ("split", "val"))
    ):
        return []
    database, stored, others = _database(record, data), record.database.get("rows"), rivals(record)
    found: dict[tuple[Variant, str], Beside] = {}
    for row in record.results:
        setting, rival = _setting(record, row), others.get(row["defense"])
        if row["topk"] != 1 or not setting:
            continue
        none = row["defense"] == UNDEFENDED
        searched = database if row["rows"] == stored else ""
        key = ("", "", "") if none else (searched, row["weighting"], row["combination"])
        if rival is not None and setting in rival.accuracies and row["protocol"] in ("", "mean"):
            printed = Beside("Table 2", "", variant(row), setting, rival.accuracies[setting], row, rival.note)
        elif key in PUBLISHED and (none or _is_last_tap(model, row)):
            table, accuracies = PUBLISHED[key]
            printed = Beside(table, key[0], variant(row), setting, accuracies[SETTINGS.index(setting)], row)
        else:
            continue
        found.setdefault((variant(row), setting), printed)
    return list(found.values())


def _database(record: Record, data: Mapping[str, Any]) -> str:
    """Return the paper's name of the database."""
    rows, source = record.database.get("rows"), data.get("database")
    if rows is None:
        return ""
    named = {IN: _built(source, "ImageNet", ("split", "train")), YFCC: _built(source, "YFCC100M")}
    return next((name for name, (least, most) in ROWS.items() if named[name] and least <= rows <= most), "")


def _setting(record: Record, row: Row) -> str:
    """Return which column of the paper's tables a row belongs to, or ""."""
    if row["delta"] == 0:
        return "clean"
    attack = mapping(record.fingerprints.get(f"attack {row['attack']}"))
    kinds = [named_kind(str(mapping(part).get("class"))) for part in (attack, attack.get("objective"))]
    facts = (kinds, attack.get("steps"), attack.get("step"), row["delta"])
    if facts != (["PGD", "CrossEntropy"], 10, "sign", DELTA) or attack.get("momentum") or attack.get("diversity"):
        return ""
    boxes = _built(mapping(record.config.get("model")).get("threats"), "BlackBox", ("name", row["threat"]))
    surrogates = boxes[0].get("surrogates") if boxes else None
    if isinstance(surrogates, list) and len(surrogates) == 1 and _is(surrogates[0], "resnet18"):
        return "black box"
    return "gray box" if row["threat"] == "gray_box" else ""


def _is_last_tap(model: Mapping[str, Any], row: Row) -> bool:
    taps = mapping(model.get("database")).get("taps")
    named = [mapping(tap) for tap in taps] if isinstance(taps, list) else []
    tap: Mapping[str, Any] = next((tap for tap in named if row["tap"] == (tap.get("name") or tap.get("layer"))), {})
    facts = (tap.get("layer") in LAST, tap.get("dimension", 256), tap.get("pool") or 1, row["k"])
    return row["defense"] == "kNN" and facts == (True, 256, 1, 50)


def _is(classifier: Any, name: str) -> bool:
    """Return whether a classifier is torchvision's, with the weights that were there when the paper was written."""
    part = mapping(classifier)
    weights = mapping(part.get("arguments")).get("weights")
    return (part.get("network"), weights, part.get("weights")) == (f"torchvision/{name}", "IMAGENET1K_V1", None)


def _built(part: Any, name: str, *arguments: tuple[str, Any]) -> list[dict[str, Any]]:
    """Return the arguments of each part of this kind that has these among its own, however deep."""
    if isinstance(part, list):
        return [found for inner in part for found in _built(inner, name, *arguments)]
    if not isinstance(part, dict):
        return []
    own = mapping(part.get("init_args"))
    here = named_kind(str(part.get("class_path"))) == name and all(own.get(key) == value for key, value in arguments)
    return [own] * here + [found for inner in part.values() for found in _built(inner, name, *arguments)]
