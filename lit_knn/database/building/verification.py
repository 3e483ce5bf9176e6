"""Is the database on disk what was sealed? Reads every byte, says all that is wrong, and changes nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from lit_knn.backbones import Classifier, Projection
from lit_knn.data import ImageData
from lit_knn.data.base import ShardedImages
from lit_knn.database import Database, joined_among, parts_of
from lit_knn.database.building.taking import listed_shards, some
from lit_knn.database.resource import resource_findings
from lit_knn.database.store import Store, changed_columns, hash_keys, read_header, read_manifest
from lit_knn.distributed.partition import Partition
from lit_knn.errors import UserError, counted
from lit_knn.storage.atomic import unfinished_files
from lit_knn.storage.fingerprint import Fingerprint, fingerprint_difference
from lit_knn.storage.sidecar import changed_files

log = logging.getLogger(__name__)

SECONDS = 30.0  # between two lines that say how far it is


def verify(database: Database, classifier: Classifier, data: ImageData, part: Partition) -> None:
    """Print each finding, and what has come since the store was made, on a line of its own.

    Args:
        database: To look at.
        classifier: That it was made with.
        data: That it was made from.
        part: Which of its shards.

    Raises:
        UserError: If there is a finding.
    """
    for line in news(database, data):
        print(line, flush=True)
    wrong = 0
    for finding in findings(database, classifier, data, part):
        print(" ".join(finding.split()), flush=True)
        wrong += 1
    if wrong:
        raise UserError(f"{wrong} finding{'s' if wrong > 1 else ''} in {database.path}; nothing was changed")
    log.info("%s is as it was sealed", database.path)


def news(database: Database, data: ImageData) -> Iterator[str]:
    """Yield which shards of the images are not in the store, as they came after it: nothing is wrong with that."""
    try:
        late = database.recognize(data).late(listed_shards(database))
    except UserError:
        return  # a finding
    for reason, names in groupby(late, key=lambda shard: shard.reason):
        new = [name for _, name, _ in names]
        yield f"new: {counted(len(new), 'shard', 'shards')} not in the store ({some(new)}): {reason}"


def findings(database: Database, classifier: Classifier, data: ImageData, part: Partition) -> Iterator[str]:
    """Yield what is wrong: with projections, manifest, every column of every shard of a part, indexes and resources."""
    expected: Fingerprint = {}
    projections: dict[str, Projection] = {}
    try:
        origins = database.origins(classifier, data)
    except UserError as error:
        yield str(error)
        return
    for tap, origin in origins.items():
        try:
            projections[tap] = Projection.load(database.projection_path(tap), origin)
            expected |= origin | {f"projection {tap}": projections[tap].fingerprint()}
        except UserError as error:
            yield str(error)
    for path in unfinished_files(database.store_path):
        yield (
            f"{path} was left by a process that was killed, if none is writing it: delete it, or run `lit-knn extract`"
        )
    path, shards = database.store_path / "manifest.json", range(len(data.database_source.shard_names()))
    try:
        manifest = read_manifest(path)
    except UserError as error:
        missing = sum(not database.shard_path(shard).exists() for shard in shards)
        yield f"{error} ({missing} of {len(shards)} shards are missing)"
        return
    listed = [entry["shard"] for entry in manifest["shards"]]
    growing = data.database_source.shard_identities() is not None
    if listed != list(shards[: len(listed)] if growing else shards):
        yield f"{path} lists {len(manifest['shards'])} shards, where the images have {len(shards)}"
    known = {name: value for name, value in manifest["fingerprint"].items() if name in expected}
    if difference := fingerprint_difference(expected, known):
        yield f"{path} is of another store: {difference}"
    yield from _shard_findings(database.store_path, manifest, data.database_source, part)
    indexed = joined_among(path.name for path in sorted(database.index_path("").glob("*")))
    readable = [tap for tap in indexed if projections.keys() >= {*parts_of(tap)}]  # of others a finding is known
    for tap in [*database.taps, *readable]:
        yield from _index_findings(database, tap, projections)
    yield from resource_findings(database.path / "resources")


def _index_findings(database: Database, tap: str, projections: Mapping[str, Projection]) -> Iterator[str]:
    folder = database.index_path(tap)
    try:
        store = database.joined_store(Store(database.store_path), projections, joined_among([tap]))
        database.index.open(store, tap, folder, alone=True)
    except UserError as error:
        yield str(error)
        return
    yield from changed_files(folder)


def _shard_findings(folder: Path, manifest: dict[str, Any], source: ShardedImages, part: Partition) -> Iterator[str]:
    entries = part.of(manifest["shards"])
    started = said = time.monotonic()
    read = 0
    for done, entry in enumerate(entries, 1):
        try:
            yield from _differences(folder / entry["file"], entry, manifest, source)
        except UserError as error:
            yield str(error)
        read += entry["size"]
        now = time.monotonic()
        if now - said >= SECONDS:
            said = now
            log.info("verify: %d of %d shards, %.3g MB/s", done, len(entries), read / 1e6 / (now - started))


def _differences(path: Path, entry: dict[str, Any], manifest: dict[str, Any], source: ShardedImages) -> Iterator[str]:
    """Compare one shard with its entry in the manifest, and with the images that the source has."""
    header = read_header(path)
    if entry["shard"] < len(source.shard_names()) and header.keys != hash_keys(
        source.open_shard(entry["shard"]).keys()
    ):
        yield f"store shard {path} was made from other images than the source has now: delete it and extract again"
    if (header.rows, header.size, header.schema.to_json()) != (entry["rows"], entry["size"], manifest["schema"]):
        yield f"store shard {path} is not the one manifest.json lists: its rows, size or columns differ"
    if difference := fingerprint_difference(manifest["fingerprint"], header.fingerprint):
        yield f"store shard {path} was made from something else: {difference}"
    for name in changed_columns(path, header, entry["sha256"]):
        yield f"column {name} of store shard {path} has changed since it was sealed: delete it and extract again"
