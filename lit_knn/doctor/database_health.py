"""What there is of a database, and whether it belongs to the configuration."""

from __future__ import annotations

from typing import NamedTuple

from lit_knn.backbones import Classifier
from lit_knn.data import ImageData
from lit_knn.database import Database
from lit_knn.database.store import Store
from lit_knn.defenses import Requirements
from lit_knn.errors import UserError, counted
from lit_knn.report.results import Finding
from lit_knn.storage.fingerprint import Fingerprint


class Health(NamedTuple):
    """What was found.

    Attributes:
        findings: ``fail`` for what is damaged or of something else, ``warn`` for what is only missing.
        missing: About how many images are to be extracted; None where nobody can say.
        unbuilt: Taps whose index is to be built, or does not belong to the store.
    """

    findings: list[Finding]
    missing: int | None
    unbuilt: list[str]


def health(database: Database, classifier: Classifier, data: ImageData, required: Requirements) -> Health:
    """Look at projections, store, indexes and resources, in the order in which they are built.

    Cost:
        The header of each shard, a few samples of each index, and no row.

    Args:
        database: Where they lie.
        classifier: Whose features they should be.
        data: Whose images they should be of.
        required: What the defenses of the configuration need.
    """
    taps = [*database.taps, *required.joined]
    unfitted = [tap for tap in database.taps if not database.projection_path(tap).exists()]
    if unfitted:
        sentence = f"no projection of {', '.join(unfitted)} in {database.path} yet: `lit-knn extract` fits it"
        begun = [Finding("projections", "warn", sentence)]
        return Health(begun, data.about_database_rows, taps)
    try:
        projections, fingerprint = database.fitted(classifier, data)
    except UserError as error:
        return Health([Finding("projections", "fail", str(error))], None, taps)
    findings = [Finding("projections", "pass", f"{len(database.taps)} of {len(database.taps)}, of this configuration")]
    try:
        store, missing, told = _store(database, data, fingerprint)
    except UserError as error:
        return Health([*findings, Finding("store", "fail", str(error))], None, taps)
    findings.append(told)
    if store is None:
        return Health(findings, missing, taps)
    unbuilt, searched = [], database.joined_store(store, projections, required.joined)
    for tap in taps:
        told = _index(database, searched, tap)
        findings.append(told)
        unbuilt += [tap] if told.verdict != "pass" else []
    for resource in required.resources:
        there = resource.is_sealed(database.resource_path(resource.name))
        sentence = "is sealed" if there else "is not there yet: `lit-knn index` makes it"
        findings.append(Finding(f"resource {resource.name}", "pass" if there else "warn", sentence))
    return Health(findings, missing, unbuilt)


def _store(database: Database, data: ImageData, fingerprint: Fingerprint) -> tuple[Store | None, int, Finding]:
    shards, new = range(len(data.database_source.shard_names())), database.recognize(data).new
    if pending := database.unsealed(shards, fingerprint):
        missing = round(data.about_database_rows * len(pending) / len(shards))
        done = f"{len(shards) - len(pending)} of {len(shards)} shards are sealed in {database.store_path}"
        told = f"{done}, about {missing:,} images are missing: `lit-knn extract` goes on"
        return None, missing, Finding("store", "warn", told)
    if not (database.store_path / "manifest.json").exists():
        told = f"all shards are sealed in {database.store_path}, and not listed yet: `lit-knn extract` does it"
        return None, 0, Finding("store", "warn", told)
    store = Store(database.store_path, fingerprint=fingerprint)
    told = f"{len(store):,} rows in {len(shards)} sealed shards, of this configuration"
    if new:
        told += f"; {counted(len(new), 'shard has', 'shards have')} come since: `lit-knn extract` adds them"
    missing = round(data.about_database_rows * len(new) / len(shards))
    return store, missing, Finding("store", "warn" if new else "pass", told)


def _index(database: Database, store: Store, tap: str) -> Finding:
    kind, path = type(database.index).__name__, database.index_path(tap)
    if not database.index.is_built(path):
        return Finding(f"index {tap}", "warn", f"{kind} is not in {path} yet: `lit-knn index` builds it")
    try:
        database.index.open(store, tap, path)
    except UserError as error:
        return Finding(f"index {tap}", "fail", str(error))
    return Finding(f"index {tap}", "pass", f"{kind}, " + ("needs no files" if database.index.exhaustive else str(path)))
