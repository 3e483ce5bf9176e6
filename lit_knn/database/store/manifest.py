"""The list of a store's shards: written when all are sealed, it is what makes them a store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_knn.database.store.schema import SCHEMA_FORM, SCHEMA_VERSION, Schema, read_header, shard_name
from lit_knn.errors import DamageError, UserError
from lit_knn.storage.atomic import write_text
from lit_knn.storage.fingerprint import digest, fingerprint_difference
from lit_knn.storage.reading import parse_json, undamaged

FORM = {
    "schema": SCHEMA_FORM,
    "fingerprint": dict,
    "rows": int,
    "shards": [
        {
            "file": str,
            "shard": int,
            "first_row": int,
            "rows": int,
            "skipped": int,
            "size": int,
            "sha256": {str: str},
        }
    ],
}


def write_manifest(folder: Path, shards: Sequence[int]) -> None:
    """List the sealed shards of a store, in this order, in ``manifest.json``.

    Args:
        folder: Of the store.
        shards: Index of each source shard.

    Raises:
        UserError: If a shard is missing or damaged, the shards do not belong together, or none has a row.
    """
    headers = [read_header(folder / shard_name(shard)) for shard in shards]
    entries: list[dict[str, Any]] = []
    first_row = 0
    for shard, header in zip(shards, headers, strict=True):
        name = shard_name(shard)
        if difference := fingerprint_difference(headers[0].fingerprint, header.fingerprint):
            raise UserError(f"store shards {shard_name(shards[0])} and {name} in {folder} differ: {difference}")
        if header.schema != headers[0].schema:
            raise UserError(
                f"store shards {shard_name(shards[0])} and {name} in {folder} differ: "
                f"columns are {header.schema} where {headers[0].schema} is expected"
            )
        entries.append(
            {
                "file": name,
                "shard": shard,
                "first_row": first_row,
                "rows": header.rows,
                "skipped": len(header.skipped),
                "size": header.size,
                "sha256": header.sha256,
            }
        )
        first_row += header.rows
    if not first_row:
        raise UserError(f"store {folder} would have no rows: no image of the database could be read")
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "schema": headers[0].schema.to_json(),
        "fingerprint": headers[0].fingerprint,
        "rows": first_row,
        "shards": entries,
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def prefixes(manifest: dict[str, Any]) -> dict[str, int]:
    """Return a checksum of the first shards, however many, and how many rows these have; the last one is that of all.

    A store that has grown since has the checksum of what it was among its own.
    """
    checksum = digest([manifest["schema_version"], manifest["schema"], manifest["fingerprint"]], 64)
    found = {}
    for entry in manifest["shards"]:
        checksum = digest([checksum, entry], 64)
        found[checksum] = entry["first_row"] + entry["rows"]
    return found


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest's entries.

    Raises:
        DamageError: If it is missing or damaged.
        UserError: If it is of another schema version, or cannot be read.
    """
    if not path.is_file():
        raise DamageError(f"{path} is missing: the store was not finished; run `lit-knn extract`")
    with undamaged(path, "run `lit-knn extract` again"):
        text = path.read_bytes()
        version = parse_json(text, {"schema_version": int})["schema_version"]
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{path} has schema version {version}, not {SCHEMA_VERSION}; delete the store and extract again"
            )
        manifest: dict[str, Any] = parse_json(text, FORM)
        Schema.from_json(manifest["schema"]).columns()
        first_row = 0
        for entry in manifest["shards"]:
            if (entry["file"], entry["first_row"]) != (shard_name(entry["shard"]), first_row):
                raise ValueError(f"{entry['file']} from row {entry['first_row']} is listed as shard {entry['shard']}")
            first_row += entry["rows"]
        if not 0 < first_row == manifest["rows"]:
            raise ValueError(f"{first_row} rows in the shards of {manifest['rows']}")
    return manifest
