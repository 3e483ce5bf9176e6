"""The record of one run: the only thing that tables and figures are made from."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from lit_knn.errors import UserError
from lit_knn.sealing import sealed
from lit_knn.variant import Variant

SCHEMA = 3
ADDED: dict[int, dict[str, Any]] = {2: {"warnings": []}, SCHEMA: {}}  # what records of each readable schema lack
RECORD_FILE = "record.json"
RESULTS_FILE = "results.csv"


class Row(TypedDict):
    """One measured accuracy; the names and their order are the columns of the CSV."""

    threat: str
    attack: str
    delta: float
    defense: str
    tap: str
    k: int | str
    weighting: str
    combination: str
    rows: int | str
    topk: int
    correct: int
    n: int
    accuracy: float
    low: float
    high: float
    delta_mean: float
    delta_max: float
    normalized_delta_mean: float


COLUMNS = tuple(Row.__annotations__)
NUMBERS = ("delta", *COLUMNS[COLUMNS.index("topk") :])


def variant(row: Row) -> Variant:
    """Return the line of the results table that a row belongs to."""
    return Variant(row["defense"], row["tap"], row["k"], row["weighting"], row["combination"], row["rows"])


@dataclass(frozen=True, kw_only=True)
class Record:
    """Everything that is known about one run, as JSON would hold it.

    Attributes:
        schema: Version of this layout.
        run: Name of the run.
        created: ISO 8601 with time zone.
        seconds: Wall time of each phase.
        config: The whole configuration.
        versions: Version of Python and of each package that decides a number.
        git: Revision of the code, or "".
        seed: Global seed.
        fingerprints: What was attacked, searched and queried.
        queries: How many images were attacked, and which; where some are left out, their names and reasons.
        database: ``rows``, ``skipped`` (list of [row, key, reason]) and whatever else tells the database apart.
        warnings: What to know before the results are believed, in sentences without a full stop.
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
    fingerprints: dict[str, str]
    queries: dict[str, Any]
    database: dict[str, Any]
    warnings: list[str]
    results: list[Row]

    def save(self, folder: Path) -> Path:
        """Write ``record.json`` into the folder, whole or not at all, and return its path."""
        content = asdict(self)
        rows = ",\n".join(_json(row) for row in content.pop("results"))  # a line each: a diff of two runs can be read
        return _write(folder / RECORD_FILE, f'{_json(content, indent=1)[:-2]},\n "results": [\n{rows}\n]\n}}\n')

    def write_csv(self, path: Path) -> Path:
        """Write the results as long-form CSV: equal numbers, equal bytes."""
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")  # floats by repr: the shortest that reads back
        table.writeheader()
        table.writerows(self.results)
        return _write(path, text.getvalue())

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record back from its file or its run folder.

        Raises:
            UserError: If there is none, it is damaged, or its layout is another version's.
        """
        path = path / RECORD_FILE if path.is_dir() else path
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: no record can be read there ({error.strerror}); give a run folder") from error
        except ValueError as error:
            raise UserError(f"{path} is not a record of a run: not JSON ({error})") from error
        found = content.get("schema") if isinstance(content, dict) else None
        if found not in ADDED:
            raise UserError(
                f"{path} has record schema {found}; this version of lit_knn reads {', '.join(map(str, ADDED))}"
            )
        content |= ADDED[found] | {"schema": SCHEMA}
        if different := set(content) ^ {field.name for field in fields(cls)}:
            raise UserError(f"{path} is not a record of schema {SCHEMA}: missing or unknown {sorted(different)}")
        results = content["results"]
        if not isinstance(results, list) or any(not isinstance(row, dict) or tuple(row) != COLUMNS for row in results):
            raise UserError(f"{path}: results must be rows with the columns {', '.join(COLUMNS)}, in that order")
        if any(type(row[name]) not in (int, float) for row in results for name in NUMBERS):
            raise UserError(f"{path}: the columns {', '.join(NUMBERS)} of results must be numbers")
        return cls(**content)


def _json(content: object, indent: int | None = None) -> str:
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)


def _write(path: Path, text: str) -> Path:
    with sealed(path) as unfinished:
        unfinished.write_bytes(text.encode())
    return path
