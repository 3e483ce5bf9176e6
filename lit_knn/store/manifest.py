"""The list of a store's shards: written when all are sealed, it is what makes them a store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_knn.errors import UserError
from lit_knn.fingerprint import fingerprint_difference
from lit_knn.sealing import sealed
from lit_knn.store.schema import SCHEMA_VERSION, read_header, shard_name


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
    with sealed(folder / "manifest.json") as unfinished:
        unfinished.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def read_manifest(path: Path) -> tuple[dict[str, Any], str]:
    """Return a manifest's entries and the SHA-256 of its bytes.

    Raises:
        UserError: If it is missing, damaged or of another schema version.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: the store was not finished; run `lit-knn extract`")
    text = path.read_bytes()
    try:
        manifest: dict[str, Any] = json.loads(text)
        version = manifest["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); delete it and run `lit-knn extract` again") from error
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}, not {SCHEMA_VERSION}; delete the store and extract again"
        )
    return manifest, hashlib.sha256(text).hexdigest()
