"""The record of one run: the only thing that tables and figures are made from."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import isclose, isfinite
from pathlib import Path
from typing import Any, TypedDict

from lit_knn.errors import UserError
from lit_knn.report.results.budgets import DEFAULT, UNITS
from lit_knn.report.results.costs import COST_FORM, Cost
from lit_knn.report.results.schemas import ADDED, SCHEMA, convert
from lit_knn.report.results.variant import PROTOCOLS, REJECTED, Variant
from lit_knn.storage.atomic import write_text
from lit_knn.storage.fingerprint import Fingerprint
from lit_knn.storage.reading import conform, load_json, undamaged

RECORD_FILE = "record.json"
RESULTS_FILE = "results.csv"


class Row(TypedDict):
    """One measured accuracy; the names and their order are the columns of the CSV.

    ``correct`` of ``n`` queries are right; with the protocol ``mean``, ``correct`` of ``n * evaluations`` evaluations.
    """

    threat: str
    attack: str
    norm: str
    delta: float
    defense: str
    tap: str
    k: int | str
    weighting: str
    combination: str
    rows: int | str
    protocol: str
    evaluations: int | str
    keep: float | str
    rejected: str
    topk: int
    correct: int
    n: int
    accuracy: float
    low: float
    high: float
    delta_mean: float
    delta_max: float
    normalized_delta_mean: float


class Passes(TypedDict):
    """Passes of all queries through what was attacked, a network or a copy of a defense, in one case at one Δ.

    Work that all Δ share is part of each.
    """

    threat: str
    attack: str
    delta: float
    forward: int
    backward: int


COLUMNS = tuple(Row.__annotations__)
COUNTS = ("k", "rows", "evaluations")
COUNTED = ("protocol", "evaluations", "rejected", "delta", "correct", "n", "accuracy")
NUMBERS = ("delta", *COLUMNS[COLUMNS.index("topk") :])
REMEDY = "remove it, or run its test again"
DATABASE = {"rows": int, "skipped": list}  # where there is one
FORM = {
    "run": str,
    "created": str,
    "seconds": {str: int | float},
    "config": dict,
    "versions": {str: str},
    "git": str,
    "seed": int,
    "fingerprints": dict,
    "queries": dict,
    "warnings": [str],
    "results": [dict],
    "passes": [{"threat": str, "attack": str, "delta": int | float, "forward": int, "backward": int}],
    "costs": [COST_FORM],
}


def mapping(part: Any) -> dict[str, Any]:
    """Return a part of a configuration if it is a dictionary, and an empty one otherwise: it may be of any shape."""
    return part if isinstance(part, dict) else {}


def variant(row: Row) -> Variant:
    """Return the line of the results table that a row belongs to."""
    return Variant._make(map(row.__getitem__, Variant._fields))


def leading(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of the smallest k of top-k only."""
    rows = list(rows)
    smallest = min((row["topk"] for row in rows), default=0)
    return [row for row in rows if row["topk"] == smallest]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that is known about one run, as JSON would hold it.

    Attributes:
        schema: Version of this layout.
        run: Name of the run.
        created: ISO 8601 with time zone.
        seconds: Wall time of each phase.
        config: The whole configuration.
        versions: Of Python and each package that decides a number, and which machine and device computed it.
        git: Revision of the code, or "".
        seed: Global seed.
        fingerprints: What was attacked, searched and queried.
        queries: How many images were attacked, and which; where some are left out, their names and reasons.
        database: ``rows``, ``skipped`` (list of [row, key, reason]) and whatever else tells the database apart.
        warnings: What to know before the results are believed, in sentences without a full stop.
        passes: What each attack took at each Δ.
        costs: What an answer of each defense costs, the first without any; of none where that would take too long.
        results: One row per threat, attack, Δ, defense variant and k.
    """

    schema: int = SCHEMA
    run: str
    created: str
    seconds: dict[str, float]
    config: dict[str, Any]
    versions: dict[str, str]
    git: str
    seed: int
    fingerprints: Fingerprint
    queries: dict[str, Any]
    database: dict[str, Any]
    warnings: list[str]
    passes: list[Passes]
    costs: list[Cost]
    results: list[Row]

    @property
    def norm(self) -> str:
        """What the sizes of all results are in."""
        return self.results[0]["norm"] if self.results else DEFAULT

    def save(self, folder: Path) -> Path:
        """Write ``record.json`` into the folder, whole or not at all, and return its path."""
        content = asdict(self)
        rows = ",\n".join(_json(row) for row in content.pop("results"))  # a line each: a diff of two runs can be read
        return write_text(folder / RECORD_FILE, f'{_json(content, indent=1)[:-2]},\n "results": [\n{rows}\n]\n}}\n')

    def write_csv(self, path: Path) -> Path:
        """Write the results as long-form CSV: equal numbers, equal bytes."""
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")  # floats by repr: the shortest that reads back
        table.writeheader()
        table.writerows(self.results)
        return write_text(path, text.getvalue())

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record back from its file or its run folder.

        Raises:
            UserError: If there is none, it is damaged, or its layout is another version's.
        """
        path = path / RECORD_FILE if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"{path}: no record can be read there; give a run folder")
        content = load_json(path, REMEDY, {"schema": int})
        if (found := content["schema"]) not in ADDED:
            raise UserError(
                f"{path} has record schema {found}; this version of lit_knn reads {', '.join(map(str, ADDED))}"
            )
        content |= ADDED[found] | {"schema": SCHEMA}
        if different := set(content) ^ {field.name for field in fields(cls)}:
            raise UserError(f"{path} is not a record of schema {SCHEMA}: missing or unknown {sorted(different)}")
        with undamaged(path, REMEDY):
            convert(content, found)
            _verify(content)
        return cls(**content)


def _verify(content: dict[str, Any]) -> None:
    """Refuse what tables and figures could not be made from; a configuration may be anything.

    Raises:
        ValueError: If a value is not what it has to be.
    """
    known = {
        name: form
        for name, form in DATABASE.items()
        if isinstance(content["database"], dict) and name in content["database"]
    }
    conform(content, {**FORM, "database": known}, "content")
    for name, value in content["fingerprints"].items():
        if name.startswith("attack "):
            conform(value, dict, name)
    rows = content["results"]
    if any(tuple(row) != COLUMNS for row in rows):
        raise ValueError(f"results must be rows with the columns {', '.join(COLUMNS)}, in that order")
    for name in COLUMNS:
        column = [row[name] for row in rows]
        if name in NUMBERS:
            if not {*map(type, column)} <= {int, float} or not all(map(isfinite, column)):
                raise ValueError(f"{name} of results must be numbers")
        elif name == "keep":
            if not all(value == "" or (isinstance(value, int | float) and 0 < value <= 1) for value in column):
                raise ValueError("keep of results must be shares above 0 and up to 1, or blank")
        elif not {*map(type, column)} <= ({int, str} if name in COUNTS else {str}) or (
            name in COUNTS and any(isinstance(value, str) and value for value in column)
        ):
            raise ValueError(f"{name} of results must be {'whole numbers or blank' if name in COUNTS else 'text'}")
    if wrong := next((row for row in rows if not _is_possible(row)), None):
        raise ValueError(f"no count gives {', '.join(f'{name} {wrong[name]!r}' for name in COUNTED)}")
    if not len(norms := {row["norm"] for row in rows}) <= 1 or norms - {*UNITS}:
        raise ValueError(f"results must be in one norm of {', '.join(UNITS)}, not in {', '.join(sorted(norms))}")
    lines = {(variant(row), row["topk"]) for row in rows}
    cells = Counter((row["threat"], row["attack"], row["delta"]) for row in rows)
    whole = {(row["threat"], row["attack"], row["delta"], variant(row), row["topk"]) for row in rows}
    if not len(whole) == len(rows) == len(lines) * len(cells):
        raise ValueError("results must have each line once for each threat, attack and Δ")


def _is_possible(row: Row) -> bool:
    correct, n, protocol, times = row["correct"], row["n"], row["protocol"], int(row["evaluations"] or 1)
    if row["rejected"] not in ("", *REJECTED):
        return False
    if protocol not in (PROTOCOLS if times > 1 else ("",)):
        return False
    trials = n * times if protocol == "mean" else n
    return row["delta"] >= 0 and 0 <= correct <= trials > 0 and isclose(row["accuracy"], correct / trials, abs_tol=1e-6)


def _json(content: object, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
