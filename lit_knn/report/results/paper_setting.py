"""In what a run is not the paper's experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any, NamedTuple

from lit_knn.report.results.budgets import DEFAULT, sized
from lit_knn.report.results.published import Line
from lit_knn.report.results.record import Record, Row, mapping
from lit_knn.report.results.threats import NAMES, threats
from lit_knn.storage.kinds import named_kind

DELTA = 0.06
NEIGHBORS = 50
WEIGHTS = "IMAGENET1K_V1"  # of torchvision, that were there when the paper was written
LAYERS = {"conv_5_1": "conv_5_1", "layer4.0.add": "conv_5_1", "conv_5_1-RMAC": "conv_5_1-RMAC"}
SOURCES = {"IN-1.3M": "ImageNet train", "YFCC-100M": "YFCC100M"}  # the paper's other databases are not public
ROWS = {"IN-1.3M": (1_250_000, 1_281_167), "YFCC-100M": (90_000_000, 100_000_000)}  # some cannot be read any more
USUAL = {name: kind for kind, name in NAMES.items()}  # unless a run names them otherwise
BOXES = {"gray box": "GrayBox", "black box": "BlackBox"}


class Fact(NamedTuple):
    """Something that a run has measured with, and what the paper has.

    Attributes:
        what: Its name.
        here: In words.
        paper: In the same words where it is the same.
    """

    what: str
    here: str
    paper: str

    @property
    def differs(self) -> bool:
        """Whether the run is not as the paper."""
        return self.here != self.paper

    def __str__(self) -> str:
        """Return it as ``step l2 instead of sign``."""
        return f"{self.what} {self.here} instead of {self.paper}"


def of_run(record: Record) -> list[Fact]:
    """Return which network and images a run has: torchvision's first ResNet-50, ImageNet's validation images."""
    config = record.config
    return [
        *_network("network", mapping(config.get("model")).get("classifier"), "resnet50"),
        Fact("queries", _source(mapping(config.get("data")).get("queries")), "ImageNet val"),
    ]


def of_attack(record: Record, row: Row, setting: str) -> list[Fact]:
    """Return how images were attacked: by PGD with 10 sign steps at Δ = 0.06, in a black box through a ResNet-18.

    Args:
        record: Of the run.
        row: Of one attack at one size.
        setting: ``gray box`` or ``black box``.
    """
    attack = mapping(record.fingerprints.get(f"attack {row['attack']}"))
    objective = mapping(attack.get("objective")).get("class")
    facts = [
        Fact("attack", named_kind(str(attack.get("class", "unknown"))), "PGD"),
        Fact("objective", named_kind(str(objective or "unknown")), "CrossEntropy"),
        Fact("steps", str(attack.get("steps")), "10"),
        Fact("step", str(attack.get("step") or "of the norm"), "sign"),
        Fact("momentum", f"{attack.get('momentum') or 0:g}", "0"),
        Fact("input diversity", f"{attack.get('diversity') or 0:g}", "0"),
        Fact("size", sized(row["norm"], row["delta"]), sized(DEFAULT, DELTA)),
    ]
    if setting == "black box":
        surrogates = threats(record).get(row["threat"], {}).get("surrogates")
        known = surrogates if isinstance(surrogates, list) else []
        facts += _network("surrogate", known[0] if len(known) == 1 else {"network": f"one of {len(known)}"}, "resnet18")
    return facts


def setting_of(record: Record, row: Row) -> str:
    """Return which column of the paper's tables a row belongs to, or "" where it is of another threat."""
    if row["delta"] == 0:
        return "clean"
    kind = str(threats(record).get(row["threat"], {}).get("class", USUAL.get(row["threat"], "")))
    return next((setting for setting, box in BOXES.items() if box == kind), "")


def of_retrieval(record: Record, row: Row, line: Line) -> list[Fact]:
    """Return where neighbors were looked for: all rows of a database, 256 dimensions of its tap, K = 50."""
    config = record.config
    taps = mapping(mapping(config.get("model")).get("database")).get("taps")
    named = [mapping(tap) for tap in taps] if isinstance(taps, list) else []
    tap: Mapping[str, Any] = next((tap for tap in named if row["tap"] == (tap.get("name") or tap.get("layer"))), {})
    layer = str(tap.get("layer", row["tap"]))
    coarse = line.tap.endswith("RMAC")
    source, (least, most) = _source(mapping(config.get("data")).get("database")), ROWS.get(line.row, (0, 0))
    rows = f"{row['rows']:,}" if isinstance(row["rows"], int) else "none"
    whole = isinstance(row["rows"], int) and least <= row["rows"] <= most and row["rows"] == record.database.get("rows")
    return [
        Fact("defense", row["defense"], "kNN"),
        Fact("database", source, SOURCES.get(line.row, line.row)),
        Fact("database rows", "all" if whole else rows, "all"),
        Fact("tap", LAYERS.get(layer, layer), line.tap),
        Fact("pool", str(tap.get("pool") or ("rmac" if layer.endswith("RMAC") else 1)), "rmac" if coarse else "1"),
        Fact("features", "bits" if tap.get("bits") else "floats", "bits" if coarse else "floats"),
        Fact("dimension", str(tap.get("dimension", 256)), "256"),
        Fact("K", str(row["k"]), str(NEIGHBORS)),
    ]


def of_rival(described: object, line: Line) -> list[Fact]:
    """Return what a rival is: all that is known of the paper's, by dotted name."""
    return [*_leaves(described, line.described)]


def is_rival(described: object, line: Line) -> bool:
    """Return whether a described defense is of the same kind as a rival, with whatever settings."""
    own, wanted = mapping(described), mapping(line.described)
    kinds = [(part.get("class"), mapping(part.get("transformation")).get("class")) for part in (own, wanted)]
    return bool(wanted) and kinds[0] == kinds[1]


def _leaves(found: object, wanted: object, name: str = "") -> Iterator[Fact]:
    if isinstance(wanted, dict):
        for key, part in wanted.items():
            yield from _leaves(mapping(found).get(key), part, f"{name}.{key}".lstrip("."))
    elif isinstance(wanted, float) and isinstance(found, float | int) and isclose(found, wanted, rel_tol=1e-3):
        yield Fact(name, f"{wanted:g}", f"{wanted:g}")
    else:
        yield Fact(name, str(found), str(wanted))


def _network(what: str, classifier: Any, name: str) -> list[Fact]:
    """Return which network it is and, of the paper's, its weights: another has others."""
    part = mapping(classifier)
    network = Fact(what, str(part.get("network", "unknown")), f"torchvision/{name}")
    weights = part.get("weights") or mapping(part.get("arguments")).get("weights")
    own = [] if network.differs else [Fact(f"{what}'s weights", str(weights or "of its own"), WEIGHTS)]
    return [network, *own]


def _source(part: Any) -> str:
    """Return what a source of images is, and which split; where it stands in another one, that of the innermost."""
    kind, own = named_kind(str(mapping(part).get("class_path", "unknown"))), mapping(mapping(part).get("init_args"))
    inner = next((value for value in own.values() if "class_path" in mapping(value)), None)
    if inner is not None:
        return f"{_source(inner)} in {kind}"
    return f"{kind} {own['split']}" if own.get("split") else kind
